import { labeled, storeText } from '../../i18n/sentences.ts';
import {
  button,
  choice,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  input,
  type Option,
  option,
  type Part,
  table,
  text,
  tightText,
} from '../../intercom/canvas.ts';
import type { LivePurchase } from '../../revenuecat/store-actions.ts';
import { isApple } from '../../subscription/names.ts';
import {
  currentEndOrNow,
  type Entitlement,
  endsOf,
  entitlementName,
  readGrantable,
  storedAccess,
} from '../access.ts';
import { GRANT_STARTS } from '../action.ts';
import { ActionError, orActionError } from '../action-error.ts';
import { maxExtensionDays, refundsCharges } from '../action-kinds.ts';
import type { ViewContext } from '../context.ts';
import { DURATIONS, type Duration, isDuration, lengthInDays } from '../durations.ts';
import { type Form, formFields, type GrantForm, type StoreForm } from '../form-state.ts';
import { findEntitlement } from '../grant.ts';
import { checkLength, findRefusal, needsApproval } from '../policy.ts';
import { listRefundableCharges, readPurchase, targetTypeOf } from '../purchases.ts';
import { APPLE_REASON_CODES } from '../store-actions.ts';
import {
  accessText,
  errorText,
  prefixOf,
  purchaseName,
  reasonField,
  refusedPage,
  secondPersonText,
} from './parts.ts';

/** Canvas Kit allows ten options in a dropdown. */
const MAX_OPTIONS = 10;

/** The form of the canvas, or of its review. */
export function formOf({ formState }: ViewContext): Form {
  return formState.form ?? { kind: 'grant' };
}

export function submittedForm(context: ViewContext): Form {
  const typed = Object.entries(context.request.inputs).map(([id, value]) => [
    id.slice(id.indexOf('.') + 1),
    value.trim(),
  ]);
  return { ...formOf(context), ...formFields.parse(Object.fromEntries(typed)) };
}

/** Shows another page of the form's entitlements or charges. */
export function turnPage(context: ViewContext, page: string): Promise<InboxCanvas> {
  return actionForm(context, { ...submittedForm(context), page: Number(page) });
}

/** @param error what is wrong with the form as it was submitted */
export async function actionForm(
  context: ViewContext,
  form: Form,
  error?: ActionError,
): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { kind, subscription, page, reason } = form;
  const hasLimit = kind === 'grant' && context.workspace.settings.grants.secondPersonAboveDays !== null;
  const refusal = await findRefusal(context, { kind, details: { targetType: targetTypeOf(context, form) } });
  if (refusal) return refusedPage(context, kind, refusal);
  const fields = await orActionError(fieldsOf(context, form, error));
  if (fields instanceof ActionError)
    return fields.kind === 'refused'
      ? refusedPage(context, kind, fields)
      : tryAgainPage(context, form, { error: fields, id: subscription ? `${kind}:${subscription}` : kind });
  if (typeof fields === 'string') return context.page([text(fields, 'muted')]);
  // What is extended stays the same on another page, and when the agent goes back from the review.
  const extended = form.extends ? { extends: true, entitlement: form.entitlement } : {};
  return context.page(
    [
      tightText(t(form.extends ? 'action.title.extendGrant' : `action.title.${kind}`), 'header'),
      error && text(errorText(context, kind, error), 'error'),
      fields,
      reasonField(context, kind, { value: reason, isWrong: error?.code.startsWith('reason_') }),
      hasLimit && secondPersonText(context, kind),
      button(`${prefixOf(kind)}.review`, t('action.button.review'), 'primary'),
    ],
    { form: { kind, subscription, page, ...extended } },
  );
}

/** RevenueCat could not be read. What was typed stays in the form state for the next try. */
export function tryAgainPage(
  context: ViewContext,
  form: Form,
  { error, id }: { readonly error: ActionError; readonly id: string },
): InboxCanvas {
  const { t } = context.messages;
  return context.page(
    [
      tightText(t(`action.title.${form.kind}`), 'header'),
      text(errorText(context, form.kind, error), 'error'),
      button(id, t('action.button.tryAgain'), 'secondary'),
    ],
    { form },
  );
}

/** The fields of an action's form, or a text that says why nothing can be chosen. @throws ActionError */
async function fieldsOf(context: ViewContext, form: Form, error?: ActionError): Promise<Part[] | string> {
  if (form.kind === 'grant') return grantFields(context, form, error);
  return form.kind === 'transfer' ? transferFields(context, form) : purchaseFields(context, form);
}

function transferFields({ messages: { t } }: ViewContext, form: StoreForm): Part[] {
  return [
    text(t('action.form.transfer'), 'muted'),
    input({ id: 'transfer.target', label: t('action.label.target'), value: form.target }),
    input({
      id: 'transfer.order',
      label: t('action.label.order'),
      placeholder: 'GPA.1234-5678-9012-34567',
      value: form.order,
    }),
  ];
}

async function purchaseFields(context: ViewContext, form: StoreForm): Promise<Part[] | string> {
  const { messages } = context;
  const { t } = messages;
  const purchase = await readPurchase(context, form.subscription);
  if (!purchase) return t('action.state.notInRevenueCat');
  const { subscription, live } = purchase;
  const rows = table([
    [t('card.label.product'), purchaseName(context, subscription)],
    [t('card.label.store'), storeText(messages, live.store)],
  ]);
  if (form.kind === 'extend') return [rows, extensionFields(context, form, live)];
  if (form.kind !== 'refund' || !refundsCharges(live)) return rows;
  const charges = await listRefundableCharges(context, live);
  const about = ({ purchasedAtMs, refundable }: (typeof charges)[number]): string =>
    [messages.date(purchasedAtMs), refundable && messages.money(refundable)].filter(Boolean).join(' · ');
  const options = charges.map((each) => option(each.id, `${about(each)} · ${each.id}`));
  const [first, ...others] = charges;
  const name = t('action.label.transaction');
  // If there is only one charge, its field holds the id, so the label describes it.
  const label = first && others.length === 0 ? `${name} · ${about(first)}` : name;
  const value = form.transaction ?? first?.id;
  return [rows, pagedChoice(context, form, { id: 'action.transaction', label, options, value })];
}

function extensionFields({ messages: { t } }: ViewContext, form: StoreForm, live: LivePurchase): Part[] {
  const label = t('action.label.days', { max: maxExtensionDays(live.store) });
  const days = input({ id: 'action.days', label, value: form.days ?? '7' });
  if (!isApple(live.store)) return [days];
  const code = choice({
    id: 'action.code',
    label: t('action.label.code'),
    options: APPLE_REASON_CODES.map((each) => option(String(each), t(`action.code.${each}`))),
    value: form.code ?? '1',
  });
  return [days, code];
}

/** @returns a text when nothing can be chosen. @param error what is wrong with the form as it was submitted */
async function grantFields(
  context: ViewContext,
  form: GrantForm,
  error?: ActionError,
): Promise<Part[] | string> {
  const { t } = context.messages;
  const entitlements = await readGrantable(context.app, context.customer.project);
  const selected =
    findEntitlement(context.customer, entitlements, form.entitlement) ??
    likelyEntitlement(context, entitlements);
  if (!selected) return t('action.invalid.noEntitlements');
  const access = storedAccess(context.customer);
  const current = escapeMarkdown(accessText(context, access));
  const duration = isDuration(form.duration) ? form.duration : defaultDuration(context);
  const nowMs = context.app.now();
  const canAdd = entitlements.some((each) => currentEndOrNow(nowMs, endsOf(access, each)) > nowMs);
  return [
    text(labeled(context.messages, t('action.label.currentAccess'), current), 'muted'),
    entitlementFields(context, form, { entitlements, selected }),
    choice({
      id: 'grant.duration',
      label: t('action.label.duration'),
      options: DURATIONS.map((each) => durationOption(context, each, duration)),
      value: duration,
    }),
    canAdd &&
      choice({
        id: 'grant.start',
        label: t('action.label.start'),
        options: GRANT_STARTS.map((each) => option(each, t(`action.start.${each}`))),
        value: form.start ?? 'after',
      }),
    input({
      id: 'grant.end',
      label: t('action.label.exactEnd'),
      placeholder: t('action.placeholder.end'),
      value: form.end,
      isWrong: error?.code.startsWith('end') || (error?.code === 'too_long' && Boolean(form.end)),
    }),
    text(t('action.form.endRule'), 'muted'),
  ];
}

/** Most grants are about what the customer has or had. */
function likelyEntitlement(context: ViewContext, entitlements: readonly Entitlement[]): Entitlement | null {
  const { state } = context.customer;
  const keys = [...state.entitlements.map((each) => each.lookupKey), ...(state.primary?.entitlements ?? [])];
  return entitlements.find((each) => keys.includes(each.lookupKey)) ?? entitlements[0] ?? null;
}

function entitlementFields(
  context: ViewContext,
  form: GrantForm,
  { entitlements, selected }: { entitlements: readonly Entitlement[]; selected: Entitlement },
): Part {
  const { messages, customer } = context;
  const field = { id: 'grant.entitlement', label: messages.t('card.label.entitlement') };
  // Canvas Kit has no dropdown with one option: show the name in a read-only field.
  if (entitlements.length === 1)
    return { type: 'input', ...field, value: entitlementName(customer, selected), disabled: true };
  const options = entitlements.map((each) => option(each.id, clip(entitlementName(customer, each), 80)));
  return pagedChoice(context, form, { ...field, options, value: selected.id });
}

/** A dropdown with the form's page of options, or with the chosen option's page, and a button to the next page. */
function pagedChoice(
  { messages: { t } }: ViewContext,
  form: Form,
  field: { id: string; label: string; options: readonly Option[]; value: string | undefined },
): Part[] {
  const pages = pagesOf(field.options);
  const chosen = pages.findIndex((each) => each.some(({ id }) => id === field.value));
  const page = form.page !== undefined && pages[form.page] ? form.page : Math.max(0, chosen);
  const dropdown = choice({ ...field, options: pages[page] ?? [] });
  if (pages.length < 2) return [dropdown];
  return [
    dropdown,
    tightText(t('action.form.pageOf', { page: page + 1, pages: pages.length }), 'muted'),
    button(
      `${prefixOf(form.kind)}.page:${(page + 1) % pages.length}`,
      t('action.button.moreOptions'),
      'link',
    ),
  ];
}

/** Splits options evenly, so that no page has a single option, which Canvas Kit refuses. */
function pagesOf(options: readonly Option[]): (readonly Option[])[] {
  const count = Math.ceil(options.length / MAX_OPTIONS);
  const from = (index: number): number => Math.floor((index * options.length) / count);
  return Array.from({ length: count }, (_, index) => options.slice(from(index), from(index + 1)));
}

/**
 * A duration that the policy forbids says so and is disabled. If it was chosen before it stays enabled: whether a
 * dropdown may hold a disabled value is not documented.
 */
function durationOption(context: ViewContext, duration: Duration, chosen: Duration): Option {
  const { t } = context.messages;
  const label = t(`action.duration.${duration}`);
  if (!isAllowed(context, duration)) {
    const notAllowed = option(duration, t('action.option.notAllowed', { choice: label }));
    return duration === chosen ? notAllowed : { ...notAllowed, disabled: true };
  }
  const isApprovalNeeded = needsApproval(context.workspace.settings.grants, lengthInDays(duration));
  return option(duration, isApprovalNeeded ? t('action.option.needsApproval', { choice: label }) : label);
}

function isAllowed(context: ViewContext, duration: Duration): boolean {
  return checkLength(context.workspace.settings.grants, lengthInDays(duration)) === null;
}

/** A month, or the longest that the policy allows. */
function defaultDuration(context: ViewContext): Duration {
  const allowed = DURATIONS.filter((duration) => duration !== 'lifetime' && isAllowed(context, duration));
  return allowed.includes('monthly') ? 'monthly' : (allowed.at(-1) ?? 'daily');
}
