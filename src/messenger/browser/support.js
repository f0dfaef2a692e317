import { Intercom, show, shutdown, update } from '@intercom/messenger-js-sdk';

/**
 * Boots the Messenger for the customer of this page, renews the identity token before it expires, and shuts the
 * Messenger down when the page is left, so that the next person at this device sees no conversation.
 */

/** A token is renewed this long before it expires, ms. */
const RENEW_BEFORE_MS = 5 * 60_000;
const RETRY_MS = 30_000;
/** Timers of more than 24.8 days fire at once. */
const LONGEST_TIMER_MS = 86_400_000;

const page = document.getElementById('support');
const { appId, region, jwt, expiresAt, renewUrl } = page.dataset;
const chat = document.getElementById('chat');
const notice = document.getElementById('notice');

let expiresAtMs = Number(expiresAt) * 1_000;
let timer;
let isOver = false;

// The link is a credential: it must not stay in the address, which the Messenger tells to the team.
if (location.search !== '') history.replaceState(null, '', location.pathname);

if (jwt) start();

function start() {
  Intercom({ app_id: appId, region, intercom_user_jwt: jwt });
  document.getElementById('_intercom_npm_loader')?.addEventListener('error', () => {
    chat.hidden = true;
    say(page.dataset.chatAway);
  });
  chat.hidden = false;
  chat.addEventListener('click', () => show());
  renewInTime();
  // Timers stand still while a phone sleeps.
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) renewInTime();
  });
  addEventListener('pagehide', leave);
  // Booting anew in the same page has been seen to fail until a reload.
  addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });
}

function renewInTime() {
  clearTimeout(timer);
  if (isOver) return;
  const waitMs = expiresAtMs - RENEW_BEFORE_MS - Date.now();
  if (waitMs <= 0) renew();
  else timer = setTimeout(renewInTime, Math.min(waitMs, LONGEST_TIMER_MS));
}

async function renew() {
  let answer;
  try {
    answer = await fetch(renewUrl, { method: 'POST', headers: { Accept: 'application/json' } });
    if (answer.ok) {
      const renewed = await answer.json();
      if (isOver) return;
      expiresAtMs = renewed.expires_at * 1_000;
      update({ intercom_user_jwt: renewed.token });
      renewInTime();
      return;
    }
  } catch {
    // No network: tried again below.
  }
  if (isOver) return;
  const isRefused =
    answer !== undefined && answer.status >= 400 && answer.status < 500 && answer.status !== 429;
  if (isRefused) {
    leave();
    chat.hidden = true;
    say(page.dataset.sessionEnded);
  } else {
    timer = setTimeout(renew, RETRY_MS);
  }
}

function leave() {
  if (isOver) return;
  isOver = true;
  clearTimeout(timer);
  shutdown();
}

function say(text) {
  notice.textContent = text;
  notice.hidden = false;
}
