import { CLOCK } from '../database/clock.ts';
import type { Database, Sql } from '../database/sql.ts';
import { type Duration, isDuration } from './durations.ts';
import { type ActionEvent, type ActionState, transitionOf, UNCONFIRMED_STATES } from './state-machine.ts';
import type {
  Action,
  ActionBase,
  Grant,
  GrantStart,
  StoreActionDetails,
  StoreActionKind,
  Teammate,
} from './types.ts';

interface ActionRow {
  workspace_id: string;
  action_id: string;
  kind: Action['kind'];
  details: StoreActionDetails | null;
  project_id: string;
  subscriber_id: string;
  app_user_id: string;
  target: string;
  reason: string;
  admin: Teammate;
  decided_by: Teammate | null;
  conversation_id: string | null;
  contact_id: string | null;
  state: ActionState;
  error: string | null;
  created_at: Date;
  called_at: Date | null;
  answered: boolean;
  lookup_key: string;
  entitlement_name: string | null;
  duration: string;
  start: GrantStart;
  previous_end_at: Date | null;
  requested_end_at: Date;
  actual_end_at: Date | null;
  unchanged: boolean;
  revoked_by: Teammate | null;
  revoke_reason: string | null;
  revoke_called_at: Date | null;
  revoked_at: Date | null;
}

function toAction(row: ActionRow): Action {
  const base: ActionBase = {
    workspaceId: row.workspace_id,
    actionId: row.action_id,
    projectId: row.project_id,
    subscriberId: row.subscriber_id,
    appUserId: row.app_user_id,
    reason: row.reason,
    admin: row.admin,
    decidedBy: row.decided_by,
    conversationId: row.conversation_id,
    contactId: row.contact_id,
    state: row.state,
    error: row.error,
    createdAtMs: row.created_at.getTime(),
    calledAtMs: row.called_at?.getTime() ?? null,
    isAnswered: row.answered,
  };
  if (row.kind !== 'grant') {
    if (!row.details) throw new Error(`The action ${row.action_id} has no details`);
    return { ...base, kind: row.kind, target: row.target, details: row.details };
  }
  return {
    ...base,
    kind: 'grant',
    entitlementId: row.target,
    lookupKey: row.lookup_key,
    entitlementName: row.entitlement_name ?? row.lookup_key,
    duration: isDuration(row.duration) ? row.duration : 'custom',
    start: row.start,
    requestedEndMs: row.requested_end_at.getTime(),
    previousEndMs: row.previous_end_at?.getTime() ?? null,
    actualEndMs: row.actual_end_at?.getTime() ?? null,
    isUnchanged: row.unchanged,
    revokedBy: row.revoked_by,
    revokeReason: row.revoke_reason ?? '',
    revokeCalledAtMs: row.revoke_called_at?.getTime() ?? null,
    revokedAtMs: row.revoked_at?.getTime() ?? null,
  };
}

export type ActionKey = Pick<ActionBase, 'workspaceId' | 'actionId'>;

interface NewActionBase {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly subscriberId: string;
  readonly appUserId: string;
  readonly target: string;
  readonly reason: string;
  readonly idempotencyKey: string;
  readonly admin: Teammate;
  readonly conversationId: string | null;
  readonly contactId: string | null;
}

export interface NewGrant extends NewActionBase {
  readonly kind: 'grant';
  readonly lookupKey: string;
  readonly entitlementName: string;
  readonly duration: Duration | 'custom';
  readonly start: GrantStart;
  readonly requestedEndMs: number;
  readonly previousEndMs: number | null;
}

export interface NewStoreAction extends NewActionBase {
  readonly kind: StoreActionKind;
  readonly details: StoreActionDetails;
}

export type NewAction = NewGrant | NewStoreAction;

export type Stored =
  | { readonly kind: 'new'; readonly action: Action }
  /** The idempotency key was used before: this is its action. */
  | { readonly kind: 'known'; readonly action: Action }
  | { readonly kind: 'monthly_limit' }
  /** The result of another action on the same target is still unknown. */
  | { readonly kind: 'unconfirmed' };

/**
 * Stores an action before RevenueCat is called, so that a second confirm finds it. Locks the teammate's row and then
 * the subscriber's: concurrent confirms see each other's actions, so neither the monthly limit nor "one unconfirmed
 * action at a time" can be exceeded.
 *
 * @param onStored runs in the same transaction when the action is new
 */
export async function storeAction(
  database: Database,
  action: NewAction & {
    readonly actionId: string;
    readonly state: 'requested' | 'awaiting_approval';
    readonly monthlyLimit: number | null;
  },
  onStored: (sql: Sql, action: Action) => Promise<void>,
): Promise<Stored> {
  const { workspaceId, monthlyLimit, admin } = action;
  return database.transaction(async (sql) => {
    await lockAdmin(sql, workspaceId, admin.id);
    const known = await findByKey(sql, workspaceId, action.idempotencyKey);
    if (known) return { kind: 'known', action: known };
    if (monthlyLimit !== null) {
      const made = await countThisMonth(sql, { workspaceId, adminId: admin.id, kind: action.kind });
      if (made >= monthlyLimit) return { kind: 'monthly_limit' };
    }
    if (await lockAndFindUnconfirmed(sql, action)) return { kind: 'unconfirmed' };
    const stored = await insertAction(sql, action);
    await onStored(sql, stored);
    return { kind: 'new', action: stored };
  });
}

async function lockAdmin(sql: Sql, workspaceId: string, adminId: string): Promise<void> {
  await sql.query(
    `insert into action_admins (workspace_id, admin_id) values ($1, $2)
     on conflict (workspace_id, admin_id) do update set admin_id = excluded.admin_id`,
    [workspaceId, adminId],
  );
}

async function insertAction(
  sql: Sql,
  action: NewAction & { readonly actionId: string; readonly state: ActionState },
): Promise<Action> {
  const grant = action.kind === 'grant' ? action : null;
  const [row] = await sql.query<ActionRow>(
    `insert into actions (workspace_id, action_id, project_id, subscriber_id, app_user_id, target, lookup_key,
                          entitlement_name, duration, start, requested_end_at, previous_end_at, reason,
                          idempotency_key, admin, conversation_id, contact_id, state, kind, details)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, to_timestamp($11 / 1000.0), to_timestamp($12 / 1000.0), $13,
             $14, $15, $16, $17, $18, $19, $20)
     returning *`,
    [
      action.workspaceId,
      action.actionId,
      action.projectId,
      action.subscriberId,
      action.appUserId,
      action.target,
      grant?.lookupKey ?? null,
      grant?.entitlementName ?? null,
      grant?.duration ?? null,
      grant?.start ?? 'now',
      grant?.requestedEndMs ?? null,
      grant?.previousEndMs ?? null,
      action.reason,
      action.idempotencyKey,
      JSON.stringify(action.admin),
      action.conversationId,
      action.contactId,
      action.state,
      action.kind,
      action.kind === 'grant' ? null : JSON.stringify(action.details),
    ],
  );
  if (!row) throw new Error('A stored action was not returned');
  return toAction(row);
}

/** Stores a grant that was made in RevenueCat, so that its removal has a record. Twice stored, it is one. */
export async function adoptGrant(sql: Sql, grant: Grant, actionId: string): Promise<Grant> {
  const idempotencyKey = [grant.actionId, grant.subscriberId, grant.requestedEndMs].join('|');
  const { workspaceId } = grant;
  await lockSubscriber(sql, grant);
  const known = await findByKey(sql, workspaceId, idempotencyKey);
  if (known) return known.kind === 'grant' ? known : grant;
  await insertAction(sql, { ...grant, target: grant.entitlementId, actionId, idempotencyKey });
  const [row] = await sql.query<ActionRow>(
    `update actions
        set called_at = to_timestamp($3 / 1000.0), created_at = to_timestamp($3 / 1000.0), answered = true,
            actual_end_at = requested_end_at
      where workspace_id = $1 and action_id = $2
     returning *`,
    [workspaceId, actionId, grant.createdAtMs],
  );
  const stored = row && toAction(row);
  return stored?.kind === 'grant' ? stored : grant;
}

async function lockSubscriber(
  sql: Sql,
  { workspaceId, subscriberId }: { readonly workspaceId: string; readonly subscriberId: string },
): Promise<void> {
  await sql.query(
    `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2 for no key update`,
    [workspaceId, subscriberId],
  );
}

/**
 * Locks the subscriber until the transaction ends, and says whether an action on the same target is unconfirmed.
 * The action itself (`actionId`) does not count.
 */
export async function lockAndFindUnconfirmed(
  sql: Sql,
  action: ActionKey & { readonly subscriberId: string; readonly target: string },
): Promise<boolean> {
  await lockSubscriber(sql, action);
  const rows = await sql.query(
    `select 1 from actions
      where workspace_id = $1 and subscriber_id = $2 and target = $3 and state = any($4) and action_id <> $5::uuid
      limit 1`,
    [action.workspaceId, action.subscriberId, action.target, UNCONFIRMED_STATES, action.actionId],
  );
  return rows.length > 0;
}

export async function findByKey(
  sql: Sql,
  workspaceId: string,
  idempotencyKey: string,
): Promise<Action | null> {
  const [row] = await sql.query<ActionRow>(
    `select * from actions where workspace_id = $1 and idempotency_key = $2`,
    [workspaceId, idempotencyKey],
  );
  return row ? toAction(row) : null;
}

export async function readAction(sql: Sql, { workspaceId, actionId }: ActionKey): Promise<Action | null> {
  const [row] = await sql.query<ActionRow>(
    `select * from actions where workspace_id = $1 and action_id::text = $2`,
    [workspaceId, actionId],
  );
  return row ? toAction(row) : null;
}

export async function listGrants(sql: Sql, workspaceId: string, subscriberId: string): Promise<Grant[]> {
  return (await listActions(sql, workspaceId, subscriberId)).filter((action) => action.kind === 'grant');
}

/** The newest 50: what a card shows of them, and what replaces webhooks that have not arrived. */
export async function listActions(sql: Sql, workspaceId: string, subscriberId: string): Promise<Action[]> {
  const rows = await sql.query<ActionRow>(
    `select * from actions where workspace_id = $1 and subscriber_id = $2 order by created_at desc limit 50`,
    [workspaceId, subscriberId],
    'list-actions',
  );
  return rows.map(toAction);
}

/** Where a page begins: after (older) or before (newer) an action; `null`: at the newest. */
export type PageFrom = { readonly direction: 'older' | 'newer'; readonly actionId: string } | null;

/** A page of everything done for a subscriber, newest first. */
export async function readActionPage(
  sql: Sql,
  subscriber: { readonly workspaceId: string; readonly subscriberId: string },
  page: { readonly from: PageFrom; readonly limit: number },
): Promise<Action[]> {
  const { from } = page;
  const isNewer = from?.direction === 'newer';
  const order = isNewer ? 'asc' : 'desc';
  const rows = await sql.query<ActionRow>(
    `select * from actions
      where workspace_id = $1 and subscriber_id = $2
        and ($3::text is null or (created_at, action_id) ${isNewer ? '>' : '<'}
             (select o.created_at, o.action_id from actions o
               where o.workspace_id = $1 and o.subscriber_id = $2 and o.action_id::text = $3))
      order by created_at ${order}, action_id ${order}
      limit $4`,
    [subscriber.workspaceId, subscriber.subscriberId, from?.actionId ?? null, page.limit],
  );
  const actions = rows.map(toAction);
  return isNewer ? actions.reverse() : actions;
}

/** A teammate's actions of a kind since the first of the month (UTC) that were done or may still be. */
export async function countThisMonth(
  sql: Sql,
  of: { readonly workspaceId: string; readonly adminId: string; readonly kind: Action['kind'] },
): Promise<number> {
  const [row] = await sql.query<{ count: string }>(
    `select count(*) from actions
      where workspace_id = $1 and admin->>'id' = $2 and kind = $3 and state not in ('failed', 'declined', 'withdrawn')
        and created_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'`,
    [of.workspaceId, of.adminId, of.kind],
  );
  return Number(row?.count ?? 0);
}

/** What changes together with the state. */
export interface Changes {
  readonly error?: string | null;
  readonly actualEndMs?: number;
  readonly isUnchanged?: boolean;
  readonly details?: StoreActionDetails;
  /** At an approval: the end approved, and the one granted before. */
  readonly ends?: { readonly requestedEndMs: number; readonly previousEndMs: number | null };
  readonly decidedBy?: Teammate;
  readonly revokedBy?: Teammate;
  readonly revokeReason?: string;
}

/** Applies an event of the state machine. `null`: the action is not in a state of the event any more. */
export async function transition<A extends Action>(
  sql: Sql,
  { workspaceId, actionId }: A,
  change: { readonly event: ActionEvent } & Changes,
): Promise<A | null> {
  const { from, to } = transitionOf(change.event);
  const json = (person: Teammate | undefined): string | null =>
    person === undefined ? null : JSON.stringify(person);
  const [row] = await sql.query<ActionRow>(
    `update actions
        set state = $4, error = $5,
            completed_at = case when $4 = any($13) then completed_at else clock.at end,
            actual_end_at = coalesce(to_timestamp($6 / 1000.0), actual_end_at),
            unchanged = coalesce($7, unchanged),
            requested_end_at = coalesce(to_timestamp($8 / 1000.0), requested_end_at),
            previous_end_at = case when $8::float8 is null then previous_end_at else to_timestamp($9 / 1000.0) end,
            details = coalesce($14::jsonb, details),
            decided_by = coalesce($10::jsonb, decided_by),
            revoked_by = coalesce($11::jsonb, revoked_by),
            revoke_reason = coalesce($12, revoke_reason),
            revoke_called_at = case when $4 = 'revoking' then clock.at else revoke_called_at end,
            revoked_at = case when $4 = 'revoked' then clock.at else revoked_at end
       from ${CLOCK}
      where workspace_id = $1 and action_id = $2 and state = any($3)
     returning actions.*`,
    [
      workspaceId,
      actionId,
      from,
      to,
      change.error ?? null,
      change.actualEndMs ?? null,
      change.isUnchanged ?? null,
      change.ends?.requestedEndMs ?? null,
      change.ends?.previousEndMs ?? null,
      json(change.decidedBy),
      json(change.revokedBy),
      change.revokeReason ?? null,
      UNCONFIRMED_STATES,
      change.details === undefined ? null : JSON.stringify(change.details),
    ],
  );
  return row ? (toAction(row) as A) : null;
}

/**
 * Claims the only call to RevenueCat that an action gets. `null`: another process has it, or had it and was killed;
 * only reading back shows the result.
 */
export async function claimForCall(sql: Sql, { workspaceId, actionId }: ActionKey): Promise<Action | null> {
  const [row] = await sql.query<ActionRow>(
    `update actions set called_at = now()
      where workspace_id = $1 and action_id = $2 and state = 'requested' and called_at is null
     returning *`,
    [workspaceId, actionId],
  );
  return row ? toAction(row) : null;
}

export async function recordResponse(sql: Sql, { workspaceId, actionId }: ActionKey): Promise<void> {
  await sql.query(`update actions set answered = true where workspace_id = $1 and action_id = $2`, [
    workspaceId,
    actionId,
  ]);
}

/** Other running grants of the entitlement: RevenueCat ends them together with the one that is revoked. */
export async function revokeOthers(sql: Sql, grant: Grant): Promise<string[]> {
  const { from, to } = transitionOf('revoke_with_other');
  const rows = await sql.query<{ action_id: string }>(
    `update actions set state = $6, revoked_at = now(), completed_at = now(), revoked_by = $5::jsonb
      where workspace_id = $1 and subscriber_id = $2 and target = $3 and action_id <> $4
        and state = any($7) and coalesce(actual_end_at, requested_end_at) > now()
     returning action_id`,
    [
      grant.workspaceId,
      grant.subscriberId,
      grant.entitlementId,
      grant.actionId,
      JSON.stringify(grant.revokedBy),
      to,
      from,
    ],
  );
  return rows.map((row) => row.action_id);
}

/** Actions and notes of all workspaces that a killed process may have left unfinished: older than a minute. */
export async function listUnfinished(sql: Sql): Promise<(ActionKey & { isNote: boolean })[]> {
  const rows = await sql.query<{ workspace_id: string; action_id: string; is_note: boolean }>(
    `select workspace_id, action_id, false as is_note from actions
      where state in ('requested', 'revoking') and created_at > now() - interval '30 days'
        and coalesce(revoke_called_at, called_at, created_at) < now() - interval '1 minute'
     union
     select workspace_id, action_id, true from action_notes
      where state in ('queued', 'sending')
        and created_at between now() - interval '7 days' and now() - interval '1 minute'
     limit 1000`,
  );
  return rows.map((row) => ({
    workspaceId: row.workspace_id,
    actionId: row.action_id,
    isNote: row.is_note,
  }));
}
