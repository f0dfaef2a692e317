import { setTimeout as sleep } from 'node:timers/promises';
import { type Component, escapeMarkdown, type InboxCanvas, linkButton, text } from '../../intercom/canvas.ts';
import { DAY_MS, isForever, withTimeout } from '../../time.ts';
import type { CurrentAccess } from '../access.ts';
import { lastStepAtMs } from '../confirmation.ts';
import type { ActionView } from '../context.ts';
import type { Refusal } from '../policy.ts';
import { readAction } from '../repository.ts';
import type { Blocker } from '../service.ts';
import { UNCONFIRMED_STATES } from '../state-machine.ts';
import type { StoreBlocker } from '../stores.ts';
import type { Action, Grant } from '../types.ts';

/** How long the agent waits for RevenueCat after a button; then the action continues in the background. */
const ANSWER_TIMEOUT_MS = 3_800;
/** A first press longer ago is no longer being worked on. */
const FIRST_PRESS_MS = 10_000;

/** The end of a grant to the minute; `null`: it has none. */
export function exactEnd(view: ActionView, endMs: number): string | null {
  return isForever(endMs) ? null : view.messages.dateTime(endMs);
}

/** The same for sentences that need words for "never". */
export function endText(view: ActionView, endMs: number): string {
  return exactEnd(view, endMs) ?? view.messages.t('grant.access.forever');
}

export function accessText(view: ActionView, { items }: Pick<CurrentAccess, 'items'>): string {
  const { t } = view.messages;
  if (items.length === 0) return t('grant.access.none');
  return items
    .map(({ name, endMs }) => t('grant.access.until', { entitlement: name, end: exactEnd(view, endMs) }))
    .join(', ');
}

/** An entitlement's name was written by the customer's team. */
export function shownName(grant: Pick<Grant, 'entitlementName'>): string {
  return escapeMarkdown(grant.entitlementName);
}

export function refusalText({ messages, context }: ActionView, refusal: Refusal): string {
  const { t } = messages;
  switch (refusal.code) {
    case 'too_long': {
      const days = refusal.maxDays;
      return t('grant.refusal.too_long', { days, end: messages.date(context.now() + days * DAY_MS) });
    }
    case 'reason_too_long':
      return t('grant.refusal.reason_too_long', { max: refusal.max });
    case 'monthly_limit': {
      const style = { timeZone: 'UTC', year: 'numeric', month: 'long' } as const;
      const month = new Intl.DateTimeFormat(messages.locale, style).format(context.now());
      return t('grant.refusal.monthly_limit', { limit: refusal.limit, month });
    }
    default:
      return t(`grant.refusal.${refusal.code}`);
  }
}

/** The code of a failed action or call, as a sentence. */
export function failureText({ messages }: ActionView, code: string | null): string {
  const key = `grant.failure.${code}`;
  return messages.t(messages.has(key) ? key : 'grant.failure.other');
}

/** What only an admin can fix leads to the settings. */
export function settingsButton(view: ActionView, page: 'revenuecat' | 'grants'): Component {
  return linkButton(
    'settings',
    view.messages.t('grant.button.settings'),
    `${view.context.config.publicUrl}/settings/${page}`,
  );
}

export function blockedPage(view: ActionView, blocker: Blocker): InboxCanvas {
  const { t } = view.messages;
  switch (blocker.code) {
    case 'no_key':
      return view.page([text(t('grant.state.noKey'), 'muted'), settingsButton(view, 'revenuecat')]);
    case 'key_rejected':
      return view.page([text(t('grant.state.keyRejected'), 'muted'), settingsButton(view, 'revenuecat')]);
    case 'no_customer_id':
      return view.page([text(t('grant.state.noCustomerId'), 'error')]);
    default:
      return refusedPage(view, blocker);
  }
}

/** Why a store action is not possible. */
export function blockerText(view: ActionView, blocker: StoreBlocker): string {
  const { t, has } = view.messages;
  switch (blocker.code) {
    case 'no_key':
      return t('action.refusal.no_key');
    case 'key_rejected':
      return t('grant.state.keyRejected');
    case 'no_customer_id':
      return t('grant.state.noCustomerId');
    case 'scope_missing':
      return t('action.refusal.scope_missing', { scopes: blocker.scopes.join(', ') });
    case 'monthly_limit':
      return t('action.refusal.monthly_limit', { limit: blocker.limit });
    default: {
      const key = `action.refusal.${blocker.code}`;
      if (has(key)) return t(key);
      return refusalText(view, blocker as Parameters<typeof refusalText>[1]);
    }
  }
}

export function blockedStorePage(view: ActionView, blocker: StoreBlocker): InboxCanvas {
  const isForAdmin = ['no_key', 'key_rejected', 'scope_missing'].includes(blocker.code);
  const isPolicy = ['switched_off', 'not_allowed'].includes(blocker.code);
  return view.page([
    text(blockerText(view, blocker), 'error'),
    ...(isForAdmin || isPolicy ? [settingsButton(view, isForAdmin ? 'revenuecat' : 'grants')] : []),
  ]);
}

export function refusedPage(view: ActionView, refusal: Refusal): InboxCanvas {
  const canChange = ['switched_off', 'not_allowed'].includes(refusal.code);
  return view.page([
    text(refusalText(view, refusal), 'error'),
    ...(canChange ? [settingsButton(view, 'grants')] : []),
  ]);
}

/**
 * What some work results in, unless it takes longer than the agent waits. It then continues in the background, and
 * `otherwise` says how the action stands. An action whose first press is still being worked on is waited for.
 */
export async function answerInTime<T>(
  view: ActionView,
  work: Promise<T>,
  otherwise: () => Promise<T>,
): Promise<T> {
  const late = Symbol('late');
  const result = await withTimeout<T, typeof late>(work, ANSWER_TIMEOUT_MS, () => late);
  if (result !== late) return result as T;
  const { workspaceId } = view.workspace;
  work.catch((error: unknown) => view.context.logger.error({ err: error, workspaceId }, 'action failed'));
  return otherwise();
}

/** Waits for the result of a first press of the same button, for as long as the agent waits. */
export async function waitForFirstPress<A extends Action>(
  view: ActionView,
  action: A,
  sinceMs: number,
): Promise<A> {
  let now = action;
  if (view.context.now() - lastStepAtMs(action) > FIRST_PRESS_MS) return now;
  while (UNCONFIRMED_STATES.includes(now.state) && Date.now() < sinceMs + ANSWER_TIMEOUT_MS) {
    await sleep(150);
    now = ((await readAction(view.context.database, action)) as A | null) ?? now;
  }
  return now;
}
