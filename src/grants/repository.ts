import { randomUUID } from 'node:crypto';
import { CLOCK, type Database, queryRow, type Sql } from '../database/sql.ts';
import { lockSubscriber } from '../subscribers/repository.ts';
import { isUuid } from '../text.ts';
import {
  type Action,
  type ActionEvent,
  type ActionKind,
  type ActionState,
  type Grant,
  type NewAction,
  type StoreActionDetails,
  TRANSITIONS,
  UNCONFIRMED_STATES,
} from './action.ts';
import { refused } from './action-error.ts';

export type ActionKey = Pick<Action, 'workspaceId' | 'actionId'>;

/** Columns of `actions` as the fields of an action. */
const COLUMNS = {
  workspaceId: 'workspace_id',
  actionId: 'action_id',
  kind: 'kind',
  projectId: 'project_id',
  subscriberId: 'subscriber_id',
  appUserId: 'app_user_id',
  target: 'target',
  reason: 'reason',
  idempotencyKey: 'idempotency_key',
  admin: 'admin',
  decidedBy: 'decided_by',
  conversationId: 'conversation_id',
  contactId: 'contact_id',
  state: 'state',
  error: 'error',
  createdAtMs: 'created_at',
  calledAtMs: 'called_at',
  isAnswered: 'answered',
  details: 'details',
  lookupKey: 'lookup_key',
  entitlementName: 'entitlement_name',
  duration: 'duration',
  start: 'start',
  previousEndMs: 'previous_end_at',
  requestedEndMs: 'requested_end_at',
  actualEndMs: 'actual_end_at',
  isUnchanged: 'unchanged',
  revokedBy: 'revoked_by',
  revokeReason: 'revoke_reason',
  revokeCalledAtMs: 'revoke_called_at',
  revokedAtMs: 'revoked_at',
} as const;

type Field = keyof typeof COLUMNS;

const ACTION = Object.entries(COLUMNS)
  .map(([field, column]) => `${column} as "${field}"`)
  .join(', ');

/** A row with its times as numbers. */
function toAction(row: Record<string, unknown>): Action {
  const fields = Object.entries(row).map(([field, value]) => [
    field,
    value instanceof Date ? value.getTime() : value,
  ]);
  return { ...Object.fromEntries(fields), entitlementName: row.entitlementName ?? row.lookupKey };
}

function toColumns(fields: Partial<Record<Field, unknown>>): { column: string; value: unknown }[] {
  return (Object.keys(fields) as Field[]).flatMap((field) => {
    const value = fields[field];
    if (value === undefined || !(field in COLUMNS)) return [];
    const column = COLUMNS[field];
    if (field.endsWith('Ms')) return [{ column, value: value === null ? null : new Date(value as number) }];
    return [{ column, value: typeof value === 'object' && value !== null ? JSON.stringify(value) : value }];
  });
}

/** A subscriber's actions on the same target. All transfers share one target, since each moves everything bought. */
const ON_SAME_TARGET = `workspace_id = $1 and subscriber_id = $2 and (target = $3 or (kind = 'transfer' and kind = $4))`;

/**
 * When an action on a target was last stored, called or completed; `null`: never. It is read before RevenueCat, so that
 * comparing it again later shows whether anything was done since.
 */
export async function readLastChange(
  sql: Sql,
  action: Pick<Action, 'workspaceId' | 'subscriberId' | 'target' | 'kind'>,
): Promise<string | null> {
  const { workspaceId, subscriberId, target, kind } = action;
  const { at } = await queryRow<{ at: string | null }>(
    sql,
    `select max(greatest(created_at, called_at, completed_at, revoke_called_at))::text as at
       from actions where ${ON_SAME_TARGET}`,
    [workspaceId, subscriberId, target, kind],
  );
  return at;
}

/** Locks the teammate's row until the transaction ends. */
export async function lockAdmin(sql: Sql, workspaceId: string, adminId: string): Promise<void> {
  await sql.query(
    `insert into action_admins (workspace_id, admin_id) values ($1, $2)
     on conflict (workspace_id, admin_id) do update set admin_id = excluded.admin_id`,
    [workspaceId, adminId],
  );
}

export async function insertAction(sql: Sql, action: NewAction | Grant): Promise<Action> {
  const columns = toColumns(action);
  const stored = await queryRow(
    sql,
    `insert into actions (${columns.map(({ column }) => column).join(', ')})
     values (${columns.map((_, index) => `$${index + 1}`).join(', ')}) returning ${ACTION}`,
    columns.map(({ value }) => value),
  );
  return toAction(stored);
}

/** Stores a grant that was made in RevenueCat, so that its removal has a record. Repeated, it returns the same one. */
export async function adoptGrant(database: Database, grant: Grant): Promise<Grant> {
  const idempotencyKey = `${adoptedKey(grant)}${grant.requestedEndMs}`;
  return database.transaction(async (sql) => {
    await lockSubscriber(sql, grant);
    const earlier = await findByKey(sql, grant.workspaceId, idempotencyKey);
    return (earlier ??
      (await insertAction(sql, { ...grant, actionId: randomUUID(), idempotencyKey }))) as Grant;
  });
}

function adoptedKey({ actionId, subscriberId }: Pick<Action, 'actionId' | 'subscriberId'>): string {
  return `${actionId}|${subscriberId}|`;
}

/** @param shown the id that the grant had before it was stored */
export function findAdopted(
  sql: Sql,
  shown: Pick<Action, 'workspaceId' | 'actionId' | 'subscriberId'>,
): Promise<Action | null> {
  const { workspaceId, subscriberId } = shown;
  const values = [workspaceId, adoptedKey(shown), subscriberId];
  return newestAction(sql, 'starts_with(idempotency_key, $2) and subscriber_id = $3', values);
}

/**
 * Locks the subscriber until the transaction ends. An unconfirmed refund of a charge prevents only another refund of
 * that charge. It changes nothing else, and may stay unconfirmed for a day.
 *
 * @throws ActionError when another action is unconfirmed
 */
export async function lockTarget(
  sql: Sql,
  action: ActionKey &
    Pick<Action, 'subscriberId' | 'target' | 'kind'> & { readonly details?: StoreActionDetails },
): Promise<void> {
  await lockSubscriber(sql, action);
  const { workspaceId, subscriberId, target, kind, actionId, details } = action;
  const rows = await sql.query(
    `select 1 from actions
      where ${ON_SAME_TARGET} and state = any($5) and action_id <> $6::uuid
        and coalesce(details->>'transactionId', $7) = $7
      limit 1`,
    [workspaceId, subscriberId, target, kind, UNCONFIRMED_STATES, actionId, details?.transactionId ?? ''],
  );
  if (rows.length > 0) throw refused('unconfirmed');
}

export function findByKey(sql: Sql, workspaceId: string, idempotencyKey: string): Promise<Action | null> {
  return newestAction(sql, 'idempotency_key = $2', [workspaceId, idempotencyKey]);
}

export async function readAction(sql: Sql, { workspaceId, actionId }: ActionKey): Promise<Action | null> {
  return isUuid(actionId) ? newestAction(sql, 'action_id = $2', [workspaceId, actionId]) : null;
}

/** @param values of the condition; the first is the workspace */
async function newestAction(sql: Sql, condition: string, values: readonly string[]): Promise<Action | null> {
  const [action] = await sql.query(
    `select ${ACTION} from actions where workspace_id = $1 and ${condition} order by created_at desc limit 1`,
    values,
  );
  return action ? toAction(action) : null;
}

export async function readAgain(sql: Sql, action: Action): Promise<Action> {
  return (await readAction(sql, action)) ?? action;
}

/** Newest first. The default, the newest 50, covers what a card shows and the actions whose webhooks are late. */
export async function listActions(
  sql: Sql,
  subscriber: Pick<Action, 'workspaceId' | 'subscriberId'>,
  { limit, offset } = { limit: 50, offset: 0 },
): Promise<Action[]> {
  const rows = await sql.query(
    `select ${ACTION} from actions where workspace_id = $1 and subscriber_id = $2
      order by created_at desc, action_id desc limit $3 offset $4`,
    [subscriber.workspaceId, subscriber.subscriberId, limit, offset],
    'list-actions',
  );
  return rows.map(toAction);
}

const TRANSFERS: readonly ActionKind[] = ['transfer', 'restore'];

/**
 * A teammate's actions of a kind since the first of the month (UTC), without those that were certainly not done.
 * Transfers and restores count together. Grants to many have their own rules: keys with `|` do not count.
 */
export async function countThisMonth(
  sql: Sql,
  { workspaceId, admin, kind }: Pick<Action, 'workspaceId' | 'admin' | 'kind'>,
): Promise<number> {
  const { count } = await queryRow<{ count: string }>(
    sql,
    `select count(*) from actions
      where workspace_id = $1 and admin->>'id' = $2 and kind = any($3)
        and (state not in ('failed', 'declined', 'withdrawn') or error = 'never_confirmed')
        and idempotency_key not like '%|%'
        and created_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'`,
    [workspaceId, admin.id, TRANSFERS.includes(kind) ? TRANSFERS : [kind]],
  );
  return Number(count);
}

/** Fields that change together with the state. An approval sets the approved end and the one granted before. */
export type Changes = Partial<
  Pick<Grant, 'error' | 'decidedBy' | 'requestedEndMs' | 'previousEndMs' | 'actualEndMs' | 'isUnchanged'> &
    Pick<Grant, 'revokedBy' | 'revokeReason' | 'conversationId'> & {
      readonly details: Pick<StoreActionDetails, 'after'>;
    }
>;

/** Applies an event of the state machine. `null`: the action is no longer in the state that the event leaves. */
export async function updateState(
  sql: Sql,
  { workspaceId, actionId }: ActionKey,
  { event, ...changes }: { readonly event: ActionEvent } & Changes,
): Promise<Action | null> {
  const { from, to } = TRANSITIONS[event];
  const columns = toColumns({ error: null, ...changes });
  // Merged, not replaced: the receiver of a transfer may have been erased from the stored details.
  const before = (column: string): string => (column === 'details' ? 'details || ' : '');
  const timed: Partial<Record<ActionState, string>> = { revoking: 'revoke_called_at', revoked: 'revoked_at' };
  const times = [timed[to], ...(UNCONFIRMED_STATES.includes(to) ? [] : ['completed_at'])].filter(Boolean);
  const [moved] = await sql.query(
    `update actions
        set state = $4${columns.map(({ column }, index) => `, ${column} = ${before(column)}$${index + 5}`).join('')}
            ${times.map((column) => `, ${column} = clock.at`).join('')}
       from ${CLOCK}
      where workspace_id = $1 and action_id = $2 and state = $3
     returning ${ACTION}`,
    [workspaceId, actionId, from, to, ...columns.map(({ value }) => value)],
  );
  return moved ? toAction(moved) : null;
}

/**
 * Claims the only call to RevenueCat that an action may make. `null`: another process has claimed it, and may have been
 * killed since, so only reading back shows the result.
 */
export async function claimForCall(sql: Sql, { workspaceId, actionId }: ActionKey): Promise<Action | null> {
  const [claimed] = await sql.query(
    `update actions set called_at = now()
      where workspace_id = $1 and action_id = $2 and state = 'requested' and called_at is null
     returning ${ACTION}`,
    [workspaceId, actionId],
  );
  return claimed ? toAction(claimed) : null;
}

export async function recordResponse(sql: Sql, { workspaceId, actionId }: ActionKey): Promise<void> {
  await sql.query(`update actions set answered = true where workspace_id = $1 and action_id = $2`, [
    workspaceId,
    actionId,
  ]);
}

/**
 * Marks the entitlement's other running grants as revoked, because RevenueCat ends all of them together. This includes
 * a grant whose own removal RevenueCat refused before.
 */
export async function revokeOthers(sql: Sql, grant: Grant): Promise<string[]> {
  const { from, to } = TRANSITIONS.revoke_with_other;
  const { workspaceId, subscriberId, target, actionId, revokedBy } = grant;
  const rows = await sql.query<{ action_id: string }>(
    `update actions set state = $6, revoked_at = now(), completed_at = now(), revoked_by = $5::jsonb,
                        revoke_called_at = null
      where workspace_id = $1 and subscriber_id = $2 and target = $3 and action_id <> $4
        and state = $7 and coalesce(actual_end_at, requested_end_at) > now()
     returning action_id`,
    [workspaceId, subscriberId, target, actionId, JSON.stringify(revokedBy), to, from],
  );
  return rows.map((row) => row.action_id);
}

/** Confirms those grants again that `revokeOthers` ended with this one and whose end RevenueCat has granted again. */
export async function restoreOthers(
  sql: Sql,
  { workspaceId, subscriberId, target, revokeCalledAtMs }: Grant,
  previousEndMs: number,
): Promise<void> {
  const { from, to } = TRANSITIONS.restore_with_other;
  await sql.query(
    `update actions set state = $4, revoked_at = null, revoked_by = null, completed_at = now()
      where workspace_id = $1 and subscriber_id = $2 and target = $3 and state = $5
        and revoke_called_at is null and revoked_at >= $6
        and coalesce(actual_end_at, requested_end_at) between $7::timestamptz - interval '1 minute'
                                                          and $7::timestamptz + interval '1 minute'`,
    [workspaceId, subscriberId, target, to, from, new Date(revokeCalledAtMs ?? 0), new Date(previousEndMs)],
  );
}

/** Actions and notes of all workspaces that have waited for their job for more than a minute. */
export async function listUnfinished(sql: Sql): Promise<(ActionKey & { isNote: boolean })[]> {
  return sql.query<ActionKey & { isNote: boolean }>(
    `select workspace_id as "workspaceId", action_id as "actionId", false as "isNote" from actions
      where state in ('requested', 'revoking') and created_at > now() - interval '30 days'
        and coalesce(revoke_called_at, called_at, created_at) < now() - interval '1 minute'
     union
     select workspace_id, action_id, true from action_notes
      where state in ('queued', 'sending')
        and created_at between now() - interval '7 days' and now() - interval '1 minute'
     limit 1000`,
  );
}
