import { type MessageKey, type Messages, type MessageValues, messagesFor } from '../../i18n/messages.ts';
import {
  button,
  type Component,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  linkButton,
  text,
  textarea,
} from '../../intercom/canvas.ts';
import { entitlementOrProduct, productOf } from '../../subscription/names.ts';
import type { SubscriptionState } from '../../subscription/types.ts';
import { DAY_MS, isForever } from '../../time.ts';
import type { ActionKind } from '../action.ts';
import { type ActionError, failed } from '../action-error.ts';
import type { ViewContext } from '../context.ts';
import { messageValuesOf } from '../message-values.ts';
import { isReasonRequired, MAX_REASON_LENGTH } from '../policy.ts';

/** In the customer's language, for texts to copy into the reply. */
export function customerMessages({ request, messages, workspace }: ViewContext): Messages {
  return messagesFor(request.contact.language ?? messages.language, workspace.timezone);
}

/** The prefix of component ids. */
export function prefixOf(kind: ActionKind): 'grant' | 'action' {
  return kind === 'grant' ? 'grant' : 'action';
}

/** The end of a grant to the minute; `null`: it has none. */
export function exactEnd(context: ViewContext, endMs: number): string | null {
  return isForever(endMs) ? null : context.messages.dateTime(endMs);
}

/** The same for sentences that need words for "never". */
export function endText(context: ViewContext, endMs: number): string {
  return exactEnd(context, endMs) ?? context.messages.t('action.access.forever');
}

/** A canvas shows only the first of many entitlements. */
const MAX_ACCESS_LENGTH = 600;

export function accessText(
  context: ViewContext,
  { items }: { readonly items: readonly { readonly name: string; readonly endMs: number }[] },
): string {
  const { t } = context.messages;
  if (items.length === 0) return t('action.access.none');
  const access = items.map(({ name, endMs }) =>
    t('action.access.until', { name, end: exactEnd(context, endMs) }),
  );
  return clip(context.messages.commaList(access), MAX_ACCESS_LENGTH);
}

/** `messageValuesOf` for a text component: escapes names, because people wrote them. */
export function shownValues(
  { messages }: ViewContext,
  action: Parameters<typeof messageValuesOf>[1],
): MessageValues {
  const values = Object.entries(messageValuesOf(messages, action));
  return Object.fromEntries(
    values.map(([name, value]) => [name, typeof value === 'string' ? escapeMarkdown(value) : value]),
  );
}

export function errorText({ messages, app }: ViewContext, kind: ActionKind, error: ActionError): string {
  const { code, values } = error;
  const key = {
    refused: `action.refused.${code}`,
    invalid: `action.invalid.${code}`,
    failed: messages.has(`action.failed.${code}`) ? `action.failed.${code}` : 'action.failed.other',
    outdated: `action.outdated.${code}`,
  }[error.kind];
  const nowMs = app.now();
  const days = Number(values.days ?? 0);
  const style = { timeZone: 'UTC', year: 'numeric', month: 'long' } as const;
  return messages.t(key as MessageKey, {
    step: 'request',
    ...values,
    kind,
    end: messages.date(nowMs + days * DAY_MS),
    month: new Intl.DateTimeFormat(messages.locale, style).format(nowMs),
  });
}

/** Why a grant was not removed. The text for a conflict is about a grant that was not made, so another text is used. */
export function removalErrorText(context: ViewContext, error: ActionError): string {
  const isConflict = error.kind === 'failed' && error.code === 'revenuecat_conflict';
  return errorText(context, 'grant', isConflict ? failed('revenuecat_rejected') : error);
}

export function reasonField(
  { messages: { t }, workspace }: ViewContext,
  kind: ActionKind,
  typed: { readonly value: string | undefined; readonly isWrong?: boolean },
): Component {
  const isRequired = isReasonRequired(workspace.settings, kind);
  return textarea({
    id: `${prefixOf(kind)}.reason`,
    label: t(isRequired ? 'action.label.reason' : 'action.label.reasonOptional'),
    placeholder: t('action.placeholder.reason'),
    value: clip(typed.value ?? '', 2 * MAX_REASON_LENGTH),
    isWrong: typed.isWrong,
  });
}

export function secondPersonText({ messages: { t }, workspace }: ViewContext, kind: ActionKind): Component {
  const { grants, actions } = workspace.settings;
  const limits = { days: grants.secondPersonAboveDays ?? 0, max: actions.refund.maxAmountAlone ?? 0 };
  return text(t('action.form.secondPerson', { kind, ...limits }), 'muted');
}

export function listButton({ messages: { t } }: ViewContext): Component {
  return button('grants', t('action.button.list'), 'secondary');
}

/** Refusals that only an admin can fix link to the settings. */
const SETTINGS_PAGES: Readonly<Record<string, 'revenuecat' | 'grants'>> = {
  no_key: 'revenuecat',
  key_rejected: 'revenuecat',
  scope_missing: 'revenuecat',
  switched_off: 'grants',
  not_allowed: 'grants',
};

export function refusedPage(context: ViewContext, kind: ActionKind, error: ActionError): InboxCanvas {
  const { t } = context.messages;
  const settingsPage = SETTINGS_PAGES[error.code];
  const settings = `${context.app.config.publicUrl}/settings/${settingsPage}`;
  return context.page([
    text(errorText(context, kind, error), 'error'),
    settingsPage && linkButton('settings', t('card.button.settings'), settings),
    error.code === 'unconfirmed' && listButton(context),
  ]);
}

export function purchaseName(
  { customer, messages }: Pick<ViewContext, 'customer' | 'messages'>,
  purchase: SubscriptionState,
): string {
  return (
    productOf(purchase, customer.names) ||
    entitlementOrProduct(purchase, customer.names) ||
    messages.t('action.state.unnamed')
  );
}
