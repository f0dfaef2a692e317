import { Intercom, shutdown, update } from '@intercom/messenger-js-sdk';
import { Purchases } from '@revenuecat/purchases-js';

const fetchToken = () => fetch('/messenger-token').then((answer) => answer.json());
let renewal;

export async function onSignIn(userId) {
  Purchases.configure({ apiKey: REVENUECAT_PUBLIC_KEY, appUserId: userId });
  const { token, expires_at } = await fetchToken();
  Intercom({ app_id: 'WORKSPACE_ID', region: 'REGION', intercom_user_jwt: token });
  scheduleRenewal(expires_at);
}

function scheduleRenewal(expiresAt) {
  renewal = setTimeout(async () => {
    const { token, expires_at } = await fetchToken();
    update({ intercom_user_jwt: token });
    scheduleRenewal(expires_at);
  }, expiresAt * 1000 - Date.now() - 5 * 60 * 1000);
}

export function onSignOut() {
  clearTimeout(renewal);
  shutdown();
}
