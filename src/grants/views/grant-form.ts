import { labeled } from '../../i18n/sentences.ts';
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
  text,
  tightText,
} from '../../intercom/canvas.ts';
import {
  currentEndOrNow,
  type Entitlement,
  endsOf,
  entitlementName,
  readEntitlements,
  storedAccess,
} from '../access.ts';
import { GRANT_STARTS } from '../action.ts';
import type { ActionError } from '../action-error.ts';
import type { ViewContext } from '../context.ts';
import { DURATIONS, type Duration, isDuration, lengthInDays } from '../durations.ts';
import type { GrantForm } from '../form-state.ts';
import { findEntitlement } from '../grant.ts';
import { checkLength, findRefusal, needsApproval } from '../policy.ts';
import { accessText, errorText, reasonField, refusedPage, secondPersonText } from './parts.ts';

const PAGE_SIZE = 10;

/** The form of the request: what was typed, and the form state. */
export function submittedGrant({ request: { inputs }, formState }: ViewContext): GrantForm {
  const previous = formState.form?.kind === 'grant' ? formState.form : undefined;
  return {
    kind: 'grant',
    entitlement: inputs['grant.entitlement'] ?? previous?.entitlement,
    duration: inputs['grant.duration'],
    start: inputs['grant.start'],
    end: inputs['grant.end']?.trim(),
    reason: inputs['grant.reason']?.trim(),
    page: previous?.page,
  };
}

export function turnEntitlementPage(context: ViewContext, page: string): Promise<InboxCanvas> {
  return grantForm(context, { ...submittedGrant(context), page: Number(page) });
}

/** @param error what is wrong with the form as it was submitted */
export async function grantForm(
  context: ViewContext,
  form: GrantForm,
  error?: ActionError,
): Promise<InboxCanvas> {
  const { t } = context.messages;
  const refusal = await findRefusal(context, { kind: 'grant' });
  if (refusal) return refusedPage(context, 'grant', refusal);
  const entitlements = await readEntitlements(context.app, context.customer.project);
  const selected =
    findEntitlement(entitlements, form.entitlement) ?? likelyEntitlement(context, entitlements);
  if (!selected) return context.page([text(t('action.invalid.noEntitlements'), 'muted')]);
  const access = storedAccess(context.customer);
  const current = escapeMarkdown(accessText(context, access));
  const duration = isDuration(form.duration) ? form.duration : defaultDuration(context);
  const nowMs = context.app.now();
  const canAdd = entitlements.some((each) => currentEndOrNow(nowMs, endsOf(access, each)) > nowMs);
  const pages = pagesOf(entitlements);
  let { page = -1 } = form;
  if (!pages[page]) page = pages.findIndex((each) => each.includes(selected));
  const components: Part[] = [
    tightText(t(form.extends ? 'action.title.extendGrant' : 'action.title.grant'), 'header'),
    text(labeled(context.messages, t('action.label.currentAccess'), current), 'muted'),
    error && text(errorText(context, 'grant', error), 'error'),
    entitlementFields(context, { pages, page, selected }),
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
    reasonField(context, 'grant', { value: form.reason, isWrong: error?.code.startsWith('reason_') }),
    context.workspace.settings.grants.secondPersonAboveDays !== null && secondPersonText(context, 'grant'),
    button('grant.review', t('action.button.review'), 'primary'),
  ];
  return context.page(components, {
    form: { kind: 'grant', page, ...(form.extends ? { entitlement: selected.id } : {}) },
  });
}

/** Most grants are about what the customer has or had. */
function likelyEntitlement(context: ViewContext, entitlements: readonly Entitlement[]): Entitlement | null {
  const { state } = context.customer;
  const keys = [...state.entitlements.map((each) => each.lookupKey), ...(state.primary?.entitlements ?? [])];
  return entitlements.find((each) => keys.includes(each.lookupKey)) ?? entitlements[0] ?? null;
}

function entitlementFields(
  { messages: { t }, customer }: ViewContext,
  form: {
    readonly pages: readonly (readonly Entitlement[])[];
    readonly page: number;
    readonly selected: Entitlement;
  },
): Part[] {
  const { pages, page, selected } = form;
  const field = { id: 'grant.entitlement', label: t('card.label.entitlement') };
  const shown = pages[page] ?? [];
  // Canvas Kit has no choice of one: its name is in a field that cannot be changed.
  if (shown.length === 1)
    return [{ type: 'input', ...field, value: entitlementName(customer, selected), disabled: true }];
  const options = shown.map((each) => option(each.id, clip(entitlementName(customer, each), 80)));
  const dropdown = choice({ ...field, options, value: selected.id });
  if (pages.length === 1) return [dropdown];
  return [
    dropdown,
    tightText(t('action.form.pageOf', { page: page + 1, pages: pages.length }), 'muted'),
    button(`grant.page:${(page + 1) % pages.length}`, t('action.button.moreEntitlements'), 'link'),
  ];
}

/** Evenly, so that no page has a single option, which Canvas Kit refuses. */
function pagesOf(entitlements: readonly Entitlement[]): (readonly Entitlement[])[] {
  const count = Math.ceil(entitlements.length / PAGE_SIZE);
  const from = (index: number): number => Math.floor((index * entitlements.length) / count);
  return Array.from({ length: count }, (_, index) => entitlements.slice(from(index), from(index + 1)));
}

/**
 * One that the policy does not allow says so and cannot be chosen. One chosen before stays enabled: whether a dropdown
 * may hold a disabled value is not documented.
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
