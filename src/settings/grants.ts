import { z } from 'zod';
import { requiredScopes } from '../grants/action-kinds.ts';
import { DURATIONS, lengthInDays } from '../grants/durations.ts';
import { listProjects } from '../workspaces/projects.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { changeSettings } from './change-settings.ts';
import {
  checkboxField,
  done,
  form,
  listField,
  numberField,
  type Page,
  type PageRequest,
  problems,
  textField,
} from './page.ts';
import { choosePeople, loadPeople, type Person, peopleFields, peopleOf } from './people.ts';
import texts from './texts.json' with { type: 'json' };

const MAX_DAYS = 36_500;
const MAX_MONTHLY = 100_000;
/** For 2,000 teammates who are selected for each of the store actions. */
const MAX_FORM_BYTES = 256 * 1024;

type Length = readonly [days: number, label: string];

const LENGTHS: readonly Length[] = DURATIONS.flatMap((duration) => {
  const days = lengthInDays(duration);
  return days === null ? [] : [[days, texts.durations[duration]] as const];
});

/** The choices, plus the stored length if it is not one of them. */
function withLength(days: number | null): readonly Length[] {
  if (days === null || LENGTHS.some(([length]) => length === days)) return LENGTHS;
  return [...LENGTHS, [days, `${days} days`] as const].sort((a, b) => a[0] - b[0]);
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
      `Grants a month must be a whole number from 1 to ${MAX_MONTHLY}, or be left empty for no limit.`,
      MAX_MONTHLY,
    ),
    bulk_second_person: numberField(
      COUNT,
      `Enter a whole number of customers from 1 to ${MAX_MONTHLY}, or leave it empty for no limit.`,
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

type Policies = WorkspaceSettings['actions'];
type Kind = keyof Policies;

const KINDS = Object.keys(texts.storeActions) as Kind[];

const fields = Object.fromEntries(
  KINDS.flatMap((kind) => [
    [kind, checkboxField],
    [`${kind}_who`, textField],
    [`${kind}_people`, listField],
    // Not three decimals: "1.000" may mean a thousand.
    [
      `${kind}_max`,
      numberField(/^\d{1,9}(\.\d{1,2})?$/, 'Enter a sum such as 50 or 49.99, or leave it empty.'),
    ],
    [
      `${kind}_monthly`,
      numberField(/^[1-9]\d{0,4}$/, 'Enter a whole number from 1 to 99999, or leave it empty for no limit.'),
    ],
  ]),
);

const storeActionsForm = form(z.object(fields), async (request, values) => {
  const { actions } = request.workspace.settings;
  const peopleFor = (kind: Kind) => values[`${kind}_people`] as string[];
  const team = await loadPeople(request, selectedOf(actions), KINDS.flatMap(peopleFor));
  const wrong: Record<string, string> = {};
  const policyOf = (kind: Kind): Policies[Kind] => {
    const who = values[`${kind}_who`] === 'selected' ? 'selected' : 'everyone';
    const choice = choosePeople({ who, people: peopleFor(kind) }, team);
    if ('problem' in choice) wrong[`${kind}_who`] = choice.problem;
    return {
      enabled: values[kind] as boolean,
      allowedAdminIds: 'problem' in choice ? null : (choice.selected?.map(({ id }) => id) ?? null),
      maxAmountAlone: values[`${kind}_max`] as number | null,
      monthlyPerAdmin: values[`${kind}_monthly`] as number | null,
    };
  };
  const changed = Object.fromEntries(KINDS.map((kind) => [kind, policyOf(kind)])) as Policies;
  if (Object.keys(wrong).length > 0) return problems(wrong);
  await changeSettings(request, 'actions', changed);
  // Finds out which permissions the key lacks for what was turned on.
  const { app, workspaceId } = request;
  await app.jobs.send('workspace.check', { workspaceId });
  return done('/grants', 'store_actions_saved');
});

function selectedOf(actions: Policies): Person[] {
  return peopleOf(Object.values(actions).flatMap(({ allowedAdminIds }) => allowedAdminIds ?? []));
}

/** The actions with their rules, and the permissions that a key lacks for those that are on. */
async function describeStoreActions({ sql, workspace, workspaceId }: PageRequest) {
  const { actions } = workspace.settings;
  const projects = await listProjects(sql, workspaceId);
  const missing = new Set(projects.flatMap(({ missingScopes }) => missingScopes));
  return KINDS.map((kind) => {
    const needed = new Set([...requiredScopes(kind, 'subscription'), ...requiredScopes(kind, 'purchase')]);
    return {
      kind,
      ...texts.storeActions[kind],
      policy: actions[kind],
      hasSum: kind === 'refund',
      missingScopes: actions[kind].enabled ? [...needed.intersection(missing)] : [],
    };
  });
}

export const grantsPage: Page = {
  path: '/grants',
  title: 'Grants',
  async load(request: PageRequest) {
    const { grants, actions } = request.workspace.settings;
    const selected = [...peopleOf(grants.allowedAdminIds), ...selectedOf(actions)];
    return {
      policy: grants,
      // Loaded once for both forms, because Intercom may take seconds.
      people: await loadPeople(request, selected),
      lengths: withLength(grants.longestDays),
      secondLengths: withLength(grants.secondPersonAboveDays),
      storeActions: await describeStoreActions(request),
    };
  },
  maxFormBytes: MAX_FORM_BYTES,
  forms: { '': grantsForm, '/actions': storeActionsForm },
};
