import { randomUUID } from 'node:crypto';
import type { Teammate } from '../../database/entities.ts';
import { messagesFor } from '../../i18n/messages.ts';
import { plural, unescapeFormula } from '../../text.ts';
import type { AppContext } from '../../workspaces/app-context.ts';
import { auditAdmin } from '../../workspaces/audit.ts';
import type { Project } from '../../workspaces/projects.ts';
import type { Workspace } from '../../workspaces/repository.ts';
import type { WorkspaceSettings } from '../../workspaces/settings.ts';
import { type Entitlement, readGrantable } from '../access.ts';
import { GRANT_STARTS, nameOf } from '../action.ts';
import { ActionError, orActionError } from '../action-error.ts';
import { DURATIONS, isDuration, lengthInDays } from '../durations.ts';
import { checkLength, checkReason, MAX_REASON_LENGTH } from '../policy.ts';
import { KEY_ERRORS, readProgress } from './customers.ts';
import {
  type BulkEvent,
  type BulkGrant,
  type BulkKey,
  type CustomerFilter,
  createBulkGrant,
  createGroupGrant,
  MAX_CUSTOMERS,
  moveBulkGrant,
} from './repository.ts';

/** A CSV field; quoted, it may hold separators and line breaks (RFC 4180). Without bounds V8's stack overflows. */
const FIELD = /(?:"([^"]*(?:""[^"]*){0,20000})" *(?=[,;\t]|$)|([^,;\t\r\n\u2028\u2029]*))/.source;
const RECORD = new RegExp(String.raw`(?=\S)${FIELD}(?:[,;\t]${FIELD}){0,20000}`, 'gm');

/**
 * Parses a pasted list or the first column of a CSV, with or without a heading. Each id is returned once, and at most
 * one more than a grant takes. Records are read one at a time and empty lines skipped: 8 million empty lines took 2 s
 * as an array, and 4 to 100 s in csv-parse 7, depending on what else is on them.
 */
export function parseCustomerList(text: string): string[] {
  const ids = new Set<string>();
  for (const [, quoted, plain = ''] of text.matchAll(RECORD)) {
    if (ids.size > MAX_CUSTOMERS) break;
    // Our own result files escape ids that look like formulas.
    const id = unescapeFormula((quoted?.replaceAll('""', '"') ?? plain).trim());
    if (id !== '' && !/^(app[_ ]?user[_ ]?id|customer[_ ]?id|id)$/i.test(id)) ids.add(id);
  }
  return [...ids];
}

/** Why customers of a list are left out; empty when none is. */
export function leftOutText(count: number): string {
  if (count === 0) return '';
  const who = plural(count, 'customer of the list was', 'customers of the list were');
  return `${who} erased and left out. An admin can allow them again under Settings › Data.`;
}

interface BulkForm {
  /** Id or lookup key. */
  readonly entitlement: string;
  readonly duration: string;
  readonly start: string;
  readonly reason: string;
  readonly customers: readonly string[] | CustomerFilter;
}

/** What is wrong with a field of the form; the customers may come from a list or a filter. */
interface BulkProblem {
  readonly field: 'entitlement' | 'duration' | 'start' | 'reason' | 'customers';
  readonly problem: string;
}

const NO_ENTITLEMENT =
  'No entitlement is known. Create one in RevenueCat, and let the API key read the project configuration.';

/** Entitlements to choose from; none while RevenueCat cannot be read. */
export async function listGrantable(app: AppContext, project: Project): Promise<readonly Entitlement[]> {
  const read = await orActionError(readGrantable(app, project));
  return read instanceof ActionError ? [] : read;
}

/** Stores a draft for the dry run, or a group from which a job makes one; nothing is granted until it is started. */
export async function draftBulkGrant(
  app: AppContext,
  scope: { readonly workspace: Workspace; readonly project: Project; readonly admin: Teammate },
  form: BulkForm,
): Promise<BulkGrant | BulkProblem> {
  const { workspace, project, admin } = scope;
  const { customers, duration, reason } = form;
  const { workspaceId } = workspace;
  const { projectId } = project;
  const entitlements = await listGrantable(app, project);
  if (entitlements.length === 0) return { field: 'entitlement', problem: NO_ENTITLEMENT };
  const entitlement = entitlements.find(({ id, lookupKey }) => [id, lookupKey].includes(form.entitlement));
  if (!entitlement) {
    const keys = entitlements.map(({ lookupKey }) => lookupKey).join(', ');
    return { field: 'entitlement', problem: `Choose an entitlement: ${keys}.` };
  }
  if (!isDuration(duration))
    return { field: 'duration', problem: `Choose a duration: ${DURATIONS.join(', ')}.` };
  const start = GRANT_STARTS.find((each) => each === form.start);
  if (!start) return { field: 'start', problem: 'Choose when it starts: after or now.' };
  const refused = checkBulkRules(workspace.settings.grants, { duration, reason });
  if (refused) return refused;
  const { id: entitlementId, lookupKey } = entitlement;
  const entitlementName = entitlement.displayName ?? lookupKey;
  const what = { entitlementId, lookupKey, entitlementName, duration, start, reason };
  const bulk = { workspaceId, bulkGrantId: randomUUID(), projectId, ...what, admin };
  if ('statuses' in customers) return createGroupGrant(app, bulk, customers);
  const problem = checkCount(customers.length);
  if (problem !== null) return { field: 'customers', problem };
  const draft = await createBulkGrant(app, bulk, customers);
  return draft ?? { field: 'customers', problem: leftOutText(customers.length) };
}

/** Why a grant for so many customers cannot be started. */
export function checkCount(count: number): string | null {
  if (count === 0) return 'There is no customer to grant to.';
  return count > MAX_CUSTOMERS ? `A grant takes at most ${MAX_CUSTOMERS} customers.` : null;
}

/** Checks what the rules for grants limit: for a draft, and again when it is started or approved. */
export function checkBulkRules(
  policy: WorkspaceSettings['grants'],
  { duration, reason }: Pick<BulkGrant, 'duration' | 'reason'>,
): BulkProblem | null {
  if (checkLength(policy, lengthInDays(duration)))
    return { field: 'duration', problem: 'This is longer than the rules for grants allow.' };
  const refusal = checkReason(policy.reasonRequired, reason);
  if (refusal === null) return null;
  const isMissing = refusal.code === 'reason_missing';
  return {
    field: 'reason',
    problem: isMissing ? 'Give a reason.' : `The reason can have at most ${MAX_REASON_LENGTH} characters.`,
  };
}

/** The code of a customer's error, with cause and fix. */
export function describeFailure({ state }: Pick<BulkGrant, 'state'>, code: string): string {
  if (code === 'not_imported')
    return `${code}: the app does not know these app user IDs. Correct the list, or import them first: Settings › Import customers, or cli backfill.`;
  if (code === 'granted_since')
    return `${code}: more was granted to these customers later, which the undo would remove, too. Undo that grant to many, then this one again; or remove it on their cards.`;
  const messages = messagesFor('en');
  const key = `action.failed.${code}`;
  const next = state === 'paused' && KEY_ERRORS.includes(code) ? ' Then continue.' : '';
  return messages.has(key) ? `${code}: ${messages.t(key, { kind: 'grant' })}${next}` : code;
}

type BulkApp = Pick<AppContext, 'database' | 'jobs'>;

/** Starts a draft, or requests a second teammate's approval if it is for many customers. */
export async function startBulkGrant(
  app: BulkApp,
  bulk: BulkGrant,
  rules: { readonly by: Teammate; readonly secondPersonAbove: number | null },
): Promise<BulkGrant | null> {
  const { total } = await readProgress(app.database, bulk);
  if (checkCount(total) !== null) return null;
  const { by, secondPersonAbove } = rules;
  const isForMany = secondPersonAbove !== null && total > secondPersonAbove;
  return changeBulkGrant(app, bulk, { event: isForMany ? 'request' : 'start', by });
}

/** Changes the state, with an audit record. `null`: it is in another state by now. */
export async function changeBulkGrant(
  app: BulkApp,
  key: BulkKey,
  { event, by }: { readonly event: BulkEvent; readonly by: Teammate },
): Promise<BulkGrant | null> {
  return app.database.transaction(async (sql) => {
    const moved = await moveBulkGrant(sql, key, { event, by });
    if (!moved) return null;
    const { total, byState } = await readProgress(sql, moved);
    const { workspaceId, state, bulkGrantId, lookupKey, duration, reason } = moved;
    const what = { bulk_grant_id: bulkGrantId, entitlement: lookupKey, duration, reason };
    const requested = moved.decidedBy ? { requested_by: nameOf(moved.admin) } : {};
    const details = { ...what, ...requested, count: total, ...byState };
    await auditAdmin(sql, { workspaceId, admin: by }, { action: `bulk_grant_${state}`, details });
    if (state === 'running' || state === 'undoing')
      await app.jobs.send('bulk-grant.run', { workspaceId, bulkGrantId }, { sql });
    return moved;
  });
}
