import { Intercom, show, shutdown, update } from '@intercom/messenger-js-sdk';

/**
 * Boots the Messenger for the customer of this page, renews the identity token before it expires, and shuts the
 * Messenger down when the page is left, so that the next person at this device sees no conversation.
 */

/** A token is renewed this long before it expires, ms. */
const RENEW_BEFORE_MS = 5 * 60_000;
const RETRY_MS = 30_000;
/** Timers of more than 24.8 days fire immediately. */
const MAX_TIMER_MS = 86_400_000;

const page = document.getElementById('support');
const { appId, region, jwt, renewUrl } = page.dataset;
const chat = document.getElementById('chat');
const openChat = document.getElementById('open-chat');

let expiresAtMs;
let timer;
let hasLeft = false;

// The Messenger reports the page's address to the team, and the address still has the link's token in it.
if (location.search !== '') history.replaceState(null, '', location.pathname);

if (jwt) start();

function start() {
  expiresAtMs = expiryOf(jwt);
  Intercom({ app_id: appId, region, intercom_user_jwt: jwt });
  document.getElementById('_intercom_npm_loader')?.addEventListener('error', () => {
    openChat.hidden = true;
    document.getElementById('chat-unavailable').hidden = false;
  });
  chat.hidden = false;
  openChat.addEventListener('click', () => show());
  scheduleRenewal();
  // Timers stop while a phone sleeps.
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) scheduleRenewal();
  });
  addEventListener('pagehide', leave);
  // Booting twice in one page has been seen to fail until a reload.
  addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });
}

/** By this device's clock, which may be hours wrong: only how long the token is valid comes from the server. */
function expiryOf(token) {
  const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
  const { iat, exp } = JSON.parse(atob(payload));
  return Date.now() + (exp - iat) * 1_000;
}

function scheduleRenewal() {
  clearTimeout(timer);
  if (hasLeft) return;
  const waitMs = expiresAtMs - RENEW_BEFORE_MS - Date.now();
  if (waitMs <= 0) renew();
  else timer = setTimeout(scheduleRenewal, Math.min(waitMs, MAX_TIMER_MS));
}

async function renew() {
  let response;
  try {
    response = await fetch(renewUrl, { method: 'POST', headers: { Accept: 'application/json' } });
    if (response.ok) {
      const renewed = await response.json();
      if (hasLeft) return;
      expiresAtMs = expiryOf(renewed.token);
      update({ intercom_user_jwt: renewed.token });
      scheduleRenewal();
      return;
    }
  } catch {
    // No network: retried below.
  }
  if (hasLeft) return;
  const status = response?.status ?? 0;
  if (status >= 400 && status < 500 && status !== 429) {
    leave();
    chat.hidden = true;
    document.getElementById('session-ended').hidden = false;
  } else {
    timer = setTimeout(renew, RETRY_MS);
  }
}

function leave() {
  if (hasLeft) return;
  hasLeft = true;
  clearTimeout(timer);
  shutdown();
}
