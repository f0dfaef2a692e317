import { z } from 'zod';
import { DURATIONS, lengthInDays } from '../grants/durations.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { changeSettings } from './change-settings.ts';
import { DURATION_LABELS } from './messages.ts';
import { checkboxField, done, form, numberField, type Page, type PageRequest, problems } from './page.ts';
import { choosePeople, loadPeople, peopleFields, peopleOf } from './people.ts';
import { loadStoreActions, selectedOf, storeActionsForm } from './store-actions.ts';

const MAX_DAYS = 36_500;
const MAX_MONTHLY = 100_000;
/** For 2,000 teammates who are selected for each of the store actions. */
const MAX_FORM_BYTES = 256 * 1024;

type Length = readonly [days: number, label: string];

const LENGTHS: readonly Length[] = DURATIONS.flatMap((duration) => {
  const days = lengthInDays(duration);
  return days === null ? [] : [[days, DURATION_LABELS[duration]] as const];
});

/** The choices, with a stored length that is not among them. */
function withLength(days: number | null): readonly Length[] {
  if (days === null || LENGTHS.some(([known]) => known === days)) return LENGTHS;
  return [...LENGTHS, [days, days === 1 ? 'One day' : `${days} days`] as const].sort((a, b) => a[0] - b[0]);
}

const COUNT = /^[1-9]\d*$/;

const grantsForm = form(
  z.object({
    enabled: checkboxField,
    ...peopleFields,
    longest_days: numberField(COUNT, 'Choose the longest grant from the list.', MAX_DAYS),
    lifetime_allowed: checkboxField,
    reason_required: checkboxField,
    monthly_per_admin: numberField(
      COUNT,
      `Grants a month must be a whole number from 1 to ${MAX_MONTHLY.toLocaleString('en-US')}, or be left empty for no limit.`,
      MAX_MONTHLY,
    ),
    bulk_second_person: numberField(
      COUNT,
      `Enter a whole number of customers from 1 to ${MAX_MONTHLY.toLocaleString('en-US')}, or leave it empty for no limit.`,
      MAX_MONTHLY,
    ),
    second_person: numberField(
      COUNT,
      'Choose above which length a second teammate must approve, or never.',
      MAX_DAYS,
    ),
  }),
  async (request, values) => {
    const { grants } = request.workspace.settings;
    const people = await loadPeople(request, peopleOf(grants.allowedAdminIds), values.people);
    const choice = choosePeople(values, people);
    if ('problem' in choice) return problems({ people: choice.problem });
    const policy: WorkspaceSettings['grants'] = {
      ...grants,
      enabled: values.enabled,
      allowedAdminIds: choice.selected?.map(({ id }) => id) ?? null,
      longestDays: values.longest_days ?? grants.longestDays,
      lifetimeAllowed: values.lifetime_allowed,
      reasonRequired: values.reason_required,
      monthlyPerAdmin: values.monthly_per_admin,
      secondPersonAboveDays: values.second_person,
      bulkSecondPersonAbove: values.bulk_second_person,
    };
    await changeSettings(request, 'grants', policy);
    return done('/grants', 'grants_saved');
  },
);

/** The rules for grants, and for what teammates can do to what a customer bought. */
export const grantsPage: Page = {
  path: '/grants',
  title: 'Grants',
  view: 'grants',
  async load(request: PageRequest) {
    const { grants, actions } = request.workspace.settings;
    const selected = [...peopleOf(grants.allowedAdminIds), ...selectedOf(actions)];
    return {
      policy: grants,
      // Once for both forms: Intercom may take seconds.
      people: await loadPeople(request, selected),
      lengths: withLength(grants.longestDays),
      secondLengths: withLength(grants.secondPersonAboveDays),
      ...(await loadStoreActions(request)),
    };
  },
  maxFormBytes: MAX_FORM_BYTES,
  forms: { '': grantsForm, '/actions': storeActionsForm },
};
