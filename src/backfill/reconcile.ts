import { listsOf, type Sql } from '../database/sql.ts';
import { AppError, answerOrError } from '../errors.ts';
import { readHistories, readHistory } from '../subscribers/history.ts';
import { refreshSubscriber } from '../subscribers/refresh.ts';
import type { SubscriberKey } from '../subscribers/repository.ts';
import { codeNames, compareWithSnapshot } from '../subscription/compare-with-snapshot.ts';
import type { LifecycleEvent } from '../subscription/read-event.ts';
import { deriveState } from '../subscription/state.ts';
import type { Snapshot } from '../subscription/types.ts';
import { NIL_UUID } from '../text.ts';
import { DAY_MS, HOUR_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { HAS_WORKING_KEY } from '../workspaces/projects.ts';

const EXPECT_BATCH_SIZE = 50;
const CHECK_BATCH_SIZE = 50;
/** After this many failures in a row, RevenueCat itself counts as unavailable, not just single customers. */
const MAX_FAILURES_IN_A_ROW = 5;

/**
 * Reads from RevenueCat the subscribers of a workspace whose subscription should have renewed or ended hours ago but
 * had no event, and counts the differences.
 *
 * A subscriber's next expected change is stored, and computed again only after the subscriber has changed. So a night
 * costs as much as the day has changed, not as much as is stored.
 *
 * @returns numbers of subscribers, and of each difference by its code without the entitlement; `continueAtMs`: when to
 *   continue a pass that is not complete
 * @throws AppError when RevenueCat is unavailable
 */
export async function reconcileWorkspace(app: AppContext, workspaceId: string, signal: AbortSignal) {
  await expectChanges(app, workspaceId, signal);
  const differences: Record<string, number> = {};
  /** `unknown`: customers that RevenueCat does not have. */
  const counts = { checked: 0, corrected: 0, unknown: 0, differences };
  let failures = 0;
  while (!signal.aborted) {
    const overdue = await listOverdue(app.database, workspaceId, app.now());
    if (overdue.length === 0) return { ...counts, continueAtMs: null };
    for (const subscriberId of overdue) {
      if (signal.aborted) break;
      const codes = await answerOrError(check(app, { workspaceId, subscriberId }, signal));
      if (codes instanceof AppError) {
        const { code, remedy } = codes;
        if (remedy.kind === 'wait_until') return { ...counts, continueAtMs: remedy.atMs };
        // One customer that RevenueCat cannot return must not keep the others from being read.
        await expectChange(app.database, { workspaceId, subscriberId }, app.now() + RECHECK_MS);
        app.logger.warn({ workspaceId, subscriberId, code }, 'a customer was not reconciled');
        failures += 1;
        if (failures >= MAX_FAILURES_IN_A_ROW) throw codes;
        continue;
      }
      failures = 0;
      counts.checked += 1;
      if (codes === null) counts.unknown += 1;
      else if (codes.length > 0) counts.corrected += 1;
      for (const code of codeNames(codes ?? [])) differences[code] = (differences[code] ?? 0) + 1;
    }
  }
  return { ...counts, continueAtMs: app.now() };
}

async function expectChanges(
  { database }: AppContext,
  workspaceId: string,
  signal: AbortSignal,
): Promise<void> {
  for (let after = NIL_UUID; !signal.aborted; ) {
    const changed = await listChanged(database, workspaceId, after);
    const ids = changed.map(({ subscriberId }) => subscriberId);
    const last = ids.at(-1);
    if (last === undefined) return;
    const histories = await readHistories(database, workspaceId, ids);
    const expected = changed.map(({ subscriberId, version }) => {
      const { events = [], snapshot = null } = histories.get(subscriberId) ?? {};
      return { subscriberId, version, atMs: expectedChangeMs(events, snapshot) };
    });
    await saveExpectedChanges(database, workspaceId, expected);
    after = last;
  }
}

/** @returns codes of the differences that RevenueCat corrected; `null`: RevenueCat does not have the customer */
async function check(
  app: AppContext,
  { workspaceId, subscriberId }: SubscriberKey,
  signal: AbortSignal,
): Promise<string[] | null> {
  const before = await readHistory(app.database, workspaceId, subscriberId);
  const outcome = await refreshSubscriber(app, { workspaceId, subscriberId }, { priority: 'bulk', signal });
  // The project has no working key any more, so its subscribers are not listed from now on.
  if (outcome === 'key_rejected') return [];
  if (outcome !== 'refreshed') {
    await expectChange(app.database, { workspaceId, subscriberId }, null);
    return outcome === 'unknown_customer' ? null : [];
  }
  const after = await readHistory(app.database, workspaceId, subscriberId);
  // The subscriber was merged into another one, which has its own expected change.
  if (after.snapshot === null) return [];
  const nowMs = app.now();
  const codes = compareWithSnapshot(
    deriveState(before.events, before.snapshot, nowMs),
    deriveState(after.events, after.snapshot, nowMs),
  );
  if (codes.length > 0) {
    app.logger.info({ workspaceId, subscriberId, codes }, 'a change had no event: corrected from RevenueCat');
  }
  return codes;
}

/**
 * Expirations come up to an hour late, renewals of some stores as well, and RevenueCat retries a refused webhook
 * for 2 h 35 min. Source: RevenueCat, "Webhooks".
 */
const EVENT_DELAY_MS = 3 * HOUR_MS;
/** When to check again if RevenueCat still reports access after the end (a store that retries the card), or fails. */
const RECHECK_MS = DAY_MS;

/**
 * When a subscriber's purchases should have changed and an event should have arrived: the first end or resumption
 * after the last known change, with time for the event to arrive. It may have passed already.
 *
 * @returns epoch ms; `null`: nothing is expected
 */
export function expectedChangeMs(
  events: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
): number | null {
  let asOfMs = snapshot?.takenAtMs ?? 0;
  for (const event of events) asOfMs = Math.max(asOfMs, event.atMs);
  const state = deriveState(events, snapshot, asOfMs);
  const times = [...state.subscriptions, ...state.grants].flatMap(({ givesAccess, ...each }) => {
    const givenUntilMs = Math.max(each.endsAtMs ?? 0, each.gracePeriodEndsAtMs ?? 0);
    const endsAtMs = givesAccess ? givenUntilMs : (each.resumesAtMs ?? 0);
    if (endsAtMs <= 0 || (!givesAccess && endsAtMs <= asOfMs)) return [];
    return [endsAtMs > asOfMs ? endsAtMs + EVENT_DELAY_MS : asOfMs + RECHECK_MS];
  });
  return times.length > 0 ? Math.min(...times) : null;
}

/** Workspaces with a working RevenueCat key. */
export async function listReconcilable(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select w.workspace_id from workspaces w
      where w.status <> 'uninstalled'
        and exists (select 1 from projects p
                     where p.workspace_id = w.workspace_id and ${HAS_WORKING_KEY})
      order by w.workspace_id`,
  );
  return rows.map((row) => row.workspace_id);
}

/**
 * Subscribers that have changed since their expected change was stored, by id. With joins, PostgreSQL expected no rows
 * and read the whole workspace for each batch. The statement has no name for the reason given at `listSubscribers`.
 */
export function listChanged(sql: Sql, workspaceId: string, after: string) {
  return sql.query<{ subscriberId: string; version: string }>(
    `select s.subscriber_id as "subscriberId", s.version
       from subscribers s
      where s.workspace_id = $1 and s.subscriber_id > $2 and s.merged_into is null
        and s.version is distinct from (select m.version from reconcile_marks m
                                         where m.workspace_id = $1 and m.subscriber_id = s.subscriber_id)
        and exists (select 1 from projects p
                     where p.workspace_id = $1 and p.project_id = s.project_id and p.api_key is not null offset 0)
      order by s.subscriber_id
      limit $3`,
    [workspaceId, after, EXPECT_BATCH_SIZE],
  );
}

async function saveExpectedChanges(
  sql: Sql,
  workspaceId: string,
  expected: readonly { subscriberId: string; version: string; atMs: number | null }[],
): Promise<void> {
  await sql.query(
    `insert into reconcile_marks (workspace_id, subscriber_id, version, check_at)
     select $1, t.subscriber_id, t.version, to_timestamp(t.check_at / 1000.0)
       from unnest($2::uuid[], $3::bigint[], $4::bigint[]) as t (subscriber_id, version, check_at)
     on conflict (workspace_id, subscriber_id)
     do update set version = excluded.version, check_at = excluded.check_at`,
    [workspaceId, ...listsOf(expected, 'subscriberId', 'version', 'atMs')],
    'save-expected-changes',
  );
}

/** Subscribers whose change is overdue, longest first, except those that have changed since. */
async function listOverdue(sql: Sql, workspaceId: string, nowMs: number): Promise<string[]> {
  const rows = await sql.query<{ subscriber_id: string }>(
    `select m.subscriber_id
       from reconcile_marks m
       join subscribers s on s.workspace_id = $1 and s.subscriber_id = m.subscriber_id and s.version = m.version
       join projects p on p.workspace_id = $1 and p.project_id = s.project_id and ${HAS_WORKING_KEY}
      where m.workspace_id = $1 and m.check_at <= to_timestamp($2 / 1000.0)
      order by m.check_at
      limit $3`,
    [workspaceId, nowMs, CHECK_BATCH_SIZE],
    'list-overdue',
  );
  return rows.map((row) => row.subscriber_id);
}

/** @param atMs `null`: no change is expected until the subscriber changes */
async function expectChange(
  sql: Sql,
  { workspaceId, subscriberId }: SubscriberKey,
  atMs: number | null,
): Promise<void> {
  await sql.query(
    `update reconcile_marks set check_at = to_timestamp($3 / 1000.0)
      where workspace_id = $1 and subscriber_id = $2`,
    [workspaceId, subscriberId, atMs],
  );
}
