import type { MessageKey, MessageValues } from '../../i18n/messages.ts';
import {
  button,
  type Component,
  escapeMarkdown,
  type InboxCanvas,
  linkButton,
  text,
} from '../../intercom/canvas.ts';
import { DAY_MS, isForever } from '../../time.ts';
import type { Access } from '../access.ts';
import type { ActionView, Obstacle, Part } from '../context.ts';
import { isReasonRequired } from '../policy.ts';
import { valuesOf } from '../texts.ts';
import type { Action, ActionKind, Refusal } from '../types.ts';

export function componentsOf(part: Part): Component[] {
  if (!part) return [];
  return 'type' in part ? [part] : part.flatMap(componentsOf);
}

/** Of component ids. */
export function prefixOf(kind: ActionKind): 'grant' | 'action' {
  return kind === 'grant' ? 'grant' : 'action';
}

/** The end of a grant to the minute; `null`: it has none. */
export function exactEnd(view: ActionView, endMs: number): string | null {
  return isForever(endMs) ? null : view.messages.dateTime(endMs);
}

/** The same for sentences that need words for "never". */
export function endText(view: ActionView, endMs: number): string {
  return exactEnd(view, endMs) ?? view.messages.t('grant.access.forever');
}

export function accessText(view: ActionView, { items }: Pick<Access, 'items'>): string {
  const { t } = view.messages;
  if (items.length === 0) return t('grant.access.none');
  return items
    .map(({ name, endMs }) => t('grant.access.until', { entitlement: name, end: exactEnd(view, endMs) }))
    .join(', ');
}

/** `valuesOf` for a text component: names were written by the customer's team. */
export function shownValues({ messages }: ActionView, action: Action): MessageValues {
  const values = Object.entries(valuesOf(messages, action));
  return Object.fromEntries(
    values.map(([name, value]) => [name, typeof value === 'string' ? escapeMarkdown(value) : value]),
  );
}

/** A grant has its own text for a code; a store action that has none shares the grant's. */
export function refusalText({ messages, context }: ActionView, kind: ActionKind, refusal: Refusal): string {
  const { code } = refusal;
  const own = `action.refusal.${code}`;
  const key = kind !== 'grant' && messages.has(own) ? own : (`grant.refusal.${code}` as MessageKey);
  switch (code) {
    case 'too_long': {
      const { days } = refusal;
      return messages.t(key, { days, end: messages.date(context.now() + days * DAY_MS) });
    }
    case 'reason_too_long':
      return messages.t(key, { max: refusal.max });
    case 'scope_missing':
      return messages.t(key, { scopes: refusal.scopes.join(', ') });
    case 'monthly_limit': {
      const style = { timeZone: 'UTC', year: 'numeric', month: 'long' } as const;
      const month = new Intl.DateTimeFormat(messages.locale, style).format(context.now());
      return messages.t(key, { limit: refusal.limit, month });
    }
    default:
      return messages.t(key);
  }
}

/** The code of a failed action or call, as a sentence. */
export function failureText({ messages }: ActionView, kind: ActionKind, code: string | null): string {
  const { t, has } = messages;
  if (code === 'stale') return t('grant.state.stale');
  if (kind === 'grant') {
    const key = code === 'changed' ? 'grant.state.changed' : `grant.failure.${code}`;
    return t(has(key) ? key : 'grant.failure.other');
  }
  const key = `action.failure.${code}`;
  return t(has(key) ? key : 'action.failure.other');
}

export function obstacleText(view: ActionView, kind: ActionKind, obstacle: Obstacle): string {
  switch (obstacle.kind) {
    case 'refused':
      return refusalText(view, kind, obstacle.refusal);
    case 'failed':
      return failureText(view, kind, obstacle.code);
    case 'invalid': {
      const { problem } = obstacle;
      const key = kind === 'grant' ? `grant.problem.${problem}` : `action.problem.${problem}`;
      return view.messages.t(key as MessageKey);
    }
  }
}

export function reasonField(
  { messages: { t }, workspace }: ActionView,
  kind: ActionKind,
  typed: { readonly value: string | undefined; readonly isWrong?: boolean },
): Component {
  const isRequired = isReasonRequired(workspace.settings, kind);
  return {
    type: 'textarea',
    id: `${prefixOf(kind)}.reason`,
    label: t(isRequired ? 'grant.label.reason' : 'grant.label.reasonOptional'),
    placeholder: t('grant.placeholder.reason'),
    ...(typed.value ? { value: typed.value } : {}),
    ...(typed.isWrong ? { error: true } : {}),
  };
}

/** Leads to everything done for the customer. */
export function listButton({ messages: { t } }: ActionView, kind: ActionKind): Component {
  return button('grants', t(kind === 'grant' ? 'grant.button.grants' : 'action.button.all'), 'secondary');
}

/** What only an admin can fix leads to the settings. */
const SETTINGS_PAGES: Partial<Record<Refusal['code'], 'revenuecat' | 'grants'>> = {
  no_key: 'revenuecat',
  key_rejected: 'revenuecat',
  scope_missing: 'revenuecat',
  switched_off: 'grants',
  not_allowed: 'grants',
};

export function refusedPage(view: ActionView, kind: ActionKind, refusal: Refusal): InboxCanvas {
  const { t } = view.messages;
  const page = SETTINGS_PAGES[refusal.code];
  const settings = `${view.context.config.publicUrl}/settings/${page}`;
  const next: Component[] = page ? [linkButton('settings', t('grant.button.settings'), settings)] : [];
  return view.page([
    text(refusalText(view, kind, refusal), 'error'),
    next,
    refusal.code === 'unconfirmed' && listButton(view, kind),
  ]);
}
