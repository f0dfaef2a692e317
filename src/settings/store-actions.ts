import { z } from 'zod';
import { requiredScopes } from '../grants/action-kinds.ts';
import { listProjects } from '../workspaces/projects.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { STORE_ACTION_TEXTS } from './messages.ts';
import { checkboxField, done, form, listField, type PageRequest, problems, textField } from './page.ts';
import { loadPeople, type Person, peopleOf } from './people.ts';
import { changeSettings } from './settings-audit.ts';

type Policies = WorkspaceSettings['actions'];
type Kind = keyof Policies;

const KINDS = Object.keys(STORE_ACTION_TEXTS) as Kind[];

/** Where no number is set the field is empty. */
const AMOUNT = /^\d{1,9}(\.\d{1,3})?$/;
const COUNT = /^[1-9]\d{0,4}$/;

const fields = Object.fromEntries(
  KINDS.flatMap((kind) => [
    [kind, checkboxField],
    [`${kind}_who`, textField],
    [`${kind}_people`, listField],
    [`${kind}_max`, textField],
    [`${kind}_monthly`, textField],
  ]),
);

/** What teammates can do to what a customer bought: one form for all actions. */
export const storeActionsForm = form(z.object(fields), async (request, values) => {
  const { actions } = request.workspace.settings;
  const team = (await loadPeople(request, selectedOf(actions))).all.map(({ id }) => id);
  const wrong: Record<string, string> = {};
  const policyOf = (kind: Kind): Policies[Kind] => {
    const text = (name: string): string => String(values[`${kind}_${name}`] ?? '');
    const [max, monthly] = [text('max'), text('monthly')];
    const people = (values[`${kind}_people`] as string[]).filter((id) => team.includes(id));
    const isForAll = text('who') !== 'selected';
    if (max !== '' && !AMOUNT.test(max)) wrong[`${kind}_max`] = 'Enter a sum such as 50, or leave it empty.';
    if (monthly !== '' && !COUNT.test(monthly))
      wrong[`${kind}_monthly`] = 'Enter a whole number from 1 to 99999, or leave it empty for no limit.';
    if (!isForAll && people.length === 0)
      wrong[`${kind}_who`] = 'Select at least one teammate, or choose Everyone.';
    return {
      enabled: values[kind] === true,
      allowedAdminIds: isForAll ? null : people,
      maxAmountAlone: max === '' ? null : Number(max),
      monthlyPerAdmin: monthly === '' ? null : Number(monthly),
    };
  };
  const changed = Object.fromEntries(KINDS.map((kind) => [kind, policyOf(kind)])) as Policies;
  if (Object.keys(wrong).length > 0) return problems(wrong);
  await changeSettings(request, 'actions', changed);
  // Finds out which permissions the key lacks for what was turned on.
  const { workspaceId } = request.workspace;
  await request.context.jobs.send('workspace.check', { workspaceId });
  return done('/grants', 'store_actions_saved');
});

function selectedOf(actions: Policies): Person[] {
  return peopleOf(Object.values(actions).flatMap(({ allowedAdminIds }) => allowedAdminIds ?? []));
}

/** The actions with their rules, and the permissions that a key lacks for those that are on. */
export async function loadStoreActions(request: PageRequest) {
  const { actions } = request.workspace.settings;
  const projects = await listProjects(request.sql, request.workspace.workspaceId);
  const missingFor = (kind: Kind): string[] => {
    if (!actions[kind].enabled) return [];
    const needed = [...requiredScopes(kind, 'subscription'), ...requiredScopes(kind, 'purchase')];
    return [...new Set(needed)].filter((scope) =>
      projects.some(({ missingScopes }) => missingScopes.includes(scope)),
    );
  };
  return {
    storeActions: KINDS.map((kind) => ({
      kind,
      ...STORE_ACTION_TEXTS[kind],
      policy: actions[kind],
      hasSum: kind === 'refund',
      missingScopes: missingFor(kind),
    })),
    team: await loadPeople(request, selectedOf(actions)),
  };
}
