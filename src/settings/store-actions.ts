import { z } from 'zod';
import { requiredScopes } from '../grants/store-action-kinds.ts';
import { listProjects } from '../workspaces/projects.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { changeSettings } from './change-settings.ts';
import { STORE_ACTION_TEXTS } from './messages.ts';
import {
  checkboxField,
  done,
  form,
  listField,
  numberField,
  type PageRequest,
  problems,
  textField,
} from './page.ts';
import { choosePeople, loadPeople, type Person, peopleOf } from './people.ts';

type Policies = WorkspaceSettings['actions'];
type Kind = keyof Policies;

const KINDS = Object.keys(STORE_ACTION_TEXTS) as Kind[];

const fields = Object.fromEntries(
  KINDS.flatMap((kind) => [
    [kind, checkboxField],
    [`${kind}_who`, textField],
    [`${kind}_people`, listField],
    [`${kind}_max`, numberField(/^\d{1,9}(\.\d{1,3})?$/, 'Enter a sum such as 50, or leave it empty.')],
    [
      `${kind}_monthly`,
      numberField(/^[1-9]\d{0,4}$/, 'Enter a whole number from 1 to 99999, or leave it empty for no limit.'),
    ],
  ]),
);

/** What teammates can do to what a customer bought: one form for all actions. */
export const storeActionsForm = form(z.object(fields), async (request, values) => {
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
  const { workspaceId } = request.workspace;
  await request.app.jobs.send('workspace.check', { workspaceId });
  return done('/grants', 'store_actions_saved');
});

/** Who was selected for any of the actions. */
export function selectedOf(actions: Policies): Person[] {
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
  };
}
