import {
  button,
  type Component,
  choice,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  type Option,
  option,
  text,
} from '../../intercom/canvas.ts';
import { DURATIONS, type Duration, isDuration, lengthInDays } from '../durations.ts';
import type { Entitlement } from '../entitlements.ts';
import { checkLength, checkMonth, checkTeammate, needsApproval, type Refusal } from '../policy.ts';
import { countThisMonth } from '../store.ts';
import { entitlementName, readEntitlements, storedAccess, usableIds } from './access.ts';
import { type Customer, page, type Visit } from './context.ts';
import { accessText, endWord, refusalText, settingsButton, wordsOf } from './said.ts';

/** What the agent has filled in so far. */
export interface Filled {
  readonly entitlement?: string | undefined;
  readonly duration?: string | undefined;
  readonly end?: string | undefined;
  readonly reason?: string | undefined;
  /** The duration is added to the end of what is granted now. */
  readonly isAdded: boolean;
  /** Page of the entitlements, from 0. */
  readonly page: number;
}

export interface Problem {
  readonly text: string;
  readonly field?: 'reason' | 'end';
}

const PAGE = 10;

/** The form as the request has it: what was typed, and what the canvas formState beside it. */
export function filledIn(visit: Visit): Filled {
  const { inputs } = visit.request;
  const { form } = visit.formState;
  return {
    entitlement: inputs['grant.entitlement'] ?? form?.entitlementId,
    duration: inputs['grant.duration'],
    end: inputs['grant.end']?.trim(),
    reason: inputs['grant.reason']?.trim(),
    isAdded: form?.isAdded ?? false,
    page: form?.page ?? 0,
  };
}

/** The form again after a review, as it was. */
export function filledBefore(visit: Visit): Filled {
  const { grant } = visit.formState;
  if (!grant) return { isAdded: false, page: 0 };
  const { entitlementId, duration, end, reason, isAdded } = grant;
  return { entitlement: entitlementId, duration, end, reason, isAdded, page: 0 };
}

/** What stands in the way before anything is filled in, with the way on; `null`: nothing. */
export async function standsInTheWay(
  visit: Visit,
  customer: Customer,
): Promise<{ why: string; components: Component[] } | null> {
  const { services: context, request, workspace } = visit;
  const words = wordsOf(visit);
  const { project } = customer;
  if (project.apiKey === null) {
    return {
      why: 'no_key',
      components: [text(words.states.noKey, 'muted'), settingsButton(visit, 'revenuecat')],
    };
  }
  if (project.apiKeyState === 'rejected') {
    return {
      why: 'key_rejected',
      components: [text(words.states.keyRejected, 'muted'), settingsButton(visit, 'revenuecat')],
    };
  }
  if (usableIds(customer).length === 0) {
    return { why: 'blocked_id', components: [text(words.refusals.noCustomerId, 'error')] };
  }
  const policy = workspace.settings.grants;
  const refusal =
    checkTeammate(policy, request.admin.id) ??
    (policy.monthlyPerAdmin === null
      ? null
      : checkMonth(policy, await countThisMonth(context.database, request.workspaceId, request.admin.id)));
  return refusal && { why: refusal.code, components: refused(visit, refusal) };
}

function refused(visit: Visit, refusal: Refusal): Component[] {
  const sentence = text(refusalText(visit, refusal), 'error');
  return refusal.code === 'monthly_limit' ? [sentence] : [sentence, settingsButton(visit, 'grants')];
}

/** Lets the agent choose; what the customer has now stands first. */
export async function grantForm(
  visit: Visit,
  customer: Customer,
  filled: Filled,
  problem?: Problem,
): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const inTheWay = await standsInTheWay(visit, customer);
  if (inTheWay) return page(visit, inTheWay.components);
  const entitlements = await readEntitlements(visit, customer);
  if (entitlements.length === 0) return page(visit, [text(words.states.noEntitlements, 'muted')]);
  const access = storedAccess(customer);
  const selected = findEntitlement(entitlements, filled.entitlement) ?? usual(customer, entitlements);
  const { policy, above } = { policy: visit.workspace.settings.grants, above: secondAbove(visit) };
  const chosen = isDuration(filled.duration) ? filled.duration : usualDuration(visit);
  const addedTo = filled.isAdded && selected ? access.endsOf(selected).grantEndMs : null;
  const components: Component[] = [
    text(addedTo === null ? words.titles.form : words.titles.extend, 'header', true),
    text(`${words.labels.hasNow}: ${escapeMarkdown(accessText(visit, access.has))}`, 'muted'),
    ...(addedTo === null ? [] : [text(words.extendsFrom(endWord(visit, addedTo)), 'muted')]),
    ...(problem ? [text(problem.text, 'error')] : []),
    ...entitlementChoice(visit, customer, entitlements, selected, filled),
    choice(
      'grant.duration',
      words.labels.duration,
      DURATIONS.map((duration) => durationOption(visit, duration, duration === chosen)),
      chosen,
    ),
    {
      type: 'input',
      id: 'grant.end',
      label: words.labels.exactEnd,
      placeholder: words.placeholders.end,
      ...(filled.end ? { value: clip(filled.end, 100) } : {}),
      ...(problem?.field === 'end' ? { save_state: 'failed' as const } : {}),
    },
    text(words.states.endRule, 'muted'),
    {
      type: 'textarea',
      id: 'grant.reason',
      label: policy.reasonRequired ? words.labels.reason : words.labels.reasonOptional,
      placeholder: words.placeholders.reason,
      ...(filled.reason ? { value: filled.reason } : {}),
      ...(problem?.field === 'reason' ? { error: true } : {}),
    },
    ...(above === null ? [] : [text(words.secondPerson(above), 'muted')]),
    button('grant.review', words.buttons.review, 'primary'),
  ];
  return page(visit, components, {
    form: {
      page: pageShown(entitlements, selected, filled.page),
      isAdded: filled.isAdded,
      ...(filled.isAdded && selected ? { entitlementId: selected.id } : {}),
    },
  });
}

function secondAbove(visit: Visit): number | null {
  return visit.workspace.settings.grants.secondPersonAboveDays;
}

/** By id; by key or name too, since one alone stands as a name in a field that cannot be changed. */
export function findEntitlement(
  entitlements: readonly Entitlement[],
  value: string | undefined,
): Entitlement | null {
  if (value === undefined || value === '')
    return entitlements.length === 1 ? (entitlements[0] ?? null) : null;
  return (
    entitlements.find((each) => each.id === value) ??
    entitlements.find((each) => each.lookupKey === value) ??
    (entitlements.length === 1 ? (entitlements.find((each) => each.displayName === value) ?? null) : null)
  );
}

/** What the customer has or had is what most grants are about. */
function usual(customer: Customer, entitlements: readonly Entitlement[]): Entitlement | null {
  const { state } = customer;
  const keys = [...state.entitlements.map((each) => each.lookupKey), ...(state.primary?.entitlements ?? [])];
  const had = entitlements.find((each) => keys.includes(each.lookupKey));
  return had ?? entitlements[0] ?? null;
}

function entitlementChoice(
  visit: Visit,
  customer: Customer,
  entitlements: readonly Entitlement[],
  selected: Entitlement | null,
  filled: Filled,
): Component[] {
  const words = wordsOf(visit);
  const [only, second] = entitlements;
  if (only && !second) {
    // Canvas Kit has no choice of one: its name stands in a field that cannot be changed.
    const value = entitlementName(customer, only);
    return [
      { type: 'input', id: 'grant.entitlement', label: words.labels.entitlement, value, disabled: true },
    ];
  }
  const pages = pagesOf(entitlements);
  const shown = pageShown(entitlements, selected, filled.page);
  const options = pages[shown] ?? [];
  const dropdown = choice(
    'grant.entitlement',
    words.labels.entitlement,
    options.map((each) => option(each.id, clip(entitlementName(customer, each), 80))),
    selected?.id,
  );
  if (pages.length === 1) return [dropdown];
  const next = (shown + 1) % pages.length;
  return [
    dropdown,
    text(words.pageOf(shown + 1, pages.length), 'muted', true),
    button(`grant.page:${next}`, words.buttons.moreEntitlements, 'link'),
  ];
}

/** Evenly, so that no page has a single option, which Canvas Kit refuses. */
function pagesOf(entitlements: readonly Entitlement[]): (readonly Entitlement[])[] {
  const count = Math.ceil(entitlements.length / PAGE);
  const from = (index: number): number => Math.floor((index * entitlements.length) / count);
  return Array.from({ length: count }, (_, index) => entitlements.slice(from(index), from(index + 1)));
}

/** Page −1: the one on which the chosen entitlement stands. */
function pageShown(
  entitlements: readonly Entitlement[],
  selected: Entitlement | null,
  asked: number,
): number {
  const pages = pagesOf(entitlements);
  if (asked >= 0 && asked < pages.length && Number.isInteger(asked)) return asked;
  return Math.max(
    0,
    pages.findIndex((each) => each.some(({ id }) => id === selected?.id)),
  );
}

/**
 * All ten stand there; those that the policy does not allow say so and cannot be chosen. One that was chosen before
 * stays what it was: that a dropdown may hold a value that is disabled stands nowhere.
 */
function durationOption(visit: Visit, duration: Duration, isChosen: boolean): Option {
  const words = wordsOf(visit);
  const policy = visit.workspace.settings.grants;
  const days = daysOf(duration);
  const label = words.durations[duration];
  if (!isAllowed(visit, duration)) {
    const notAllowed = option(duration, words.notAllowedHere(label));
    return isChosen ? notAllowed : { ...notAllowed, disabled: true };
  }
  return option(duration, needsApproval(policy, days) ? words.needsSecond(label) : label);
}

function daysOf(duration: Duration): number | null {
  return duration === 'lifetime' ? null : lengthInDays(duration);
}

/** By the policy. */
function isAllowed(visit: Visit, duration: Duration): boolean {
  return checkLength(visit.workspace.settings.grants, daysOf(duration)) === null;
}

/** A month, or the longest that the policy allows. */
function usualDuration(visit: Visit): Duration {
  const allowed = DURATIONS.filter((duration) => duration !== 'lifetime' && isAllowed(visit, duration));
  return allowed.includes('monthly') ? 'monthly' : (allowed.at(-1) ?? 'daily');
}
