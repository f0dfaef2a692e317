import { Intercom, shutdown, update } from '@intercom/messenger-js-sdk';
import { Purchases } from '@revenuecat/purchases-js';

async function fetchToken() {
  const answer = await fetch('/messenger-token');
  if (!answer.ok) throw new Error(`No Messenger token: ${answer.status}`);
  return answer.json();
}

let signedInAs = null;
let renewal;

export async function onSignIn(userId) {
  signedInAs = userId;
  Purchases.configure({ apiKey: REVENUECAT_PUBLIC_KEY, appUserId: userId });
  const { token } = await fetchToken();
  if (signedInAs !== userId) return; // signed out since
  Intercom({ app_id: 'WORKSPACE_ID', region: 'REGION', intercom_user_jwt: token });
  renewAfter(userId, 60 * 60 * 1000); // it is valid for two hours
}

function renewAfter(userId, waitMs) {
  renewal = setTimeout(async () => {
    const answer = await fetchToken().catch(() => null); // no network, or your backend restarts
    if (signedInAs !== userId) return; // signed out since
    if (answer) update({ intercom_user_jwt: answer.token });
    renewAfter(userId, answer ? 60 * 60 * 1000 : 60 * 1000);
  }, waitMs);
}

export function onSignOut() {
  signedInAs = null;
  clearTimeout(renewal);
  shutdown(); // load the page again before the next sign-in: that has been seen to fail until a reload
}
