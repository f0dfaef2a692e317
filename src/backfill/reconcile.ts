import { AppError } from '../errors.ts';
import { type RefreshContext, refreshSubscriber } from '../subscribers/refresh.ts';
import { readHistory, readSubscriber } from '../subscribers/store.ts';
import { compareWithSnapshot } from '../subscription/compare-with-snapshot.ts';
import { deriveState } from '../subscription/state.ts';
import type { LifecycleEvent, Snapshot } from '../subscription/types.ts';
import { expectedChangeAt } from './expected-change.ts';
import { dropMark, listOverdue, listUnmarked, saveMarks } from './reconcile-store.ts';

/** What a pass came to, in subscribers. */
export interface Reconciliation {
  /** Asked for at RevenueCat because a change was due and no event told of it. */
  readonly checked: number;
  /** RevenueCat told something else than what was stored. */
  readonly corrected: number;
  /** RevenueCat does not know them. */
  readonly unknown: number;
  /** How many times each difference occurred, by code of {@link compareWithSnapshot} without its entitlement. */
  readonly differences: Readonly<Record<string, number>>;
  /** `null`: the pass is complete. Otherwise when to go on, epoch ms. */
  readonly continueAtMs: number | null;
}

const MARKED_AT_ONCE = 200;
const READ_AT_ONCE = 8;
const CHECKED_AT_ONCE = 50;
const FIRST_ID = '00000000-0000-0000-0000-000000000000';

/**
 * Looks after the subscribers of a workspace whose subscription should have renewed or ended hours ago while no
 * event arrived, reads them anew and counts what was wrong.
 *
 * Each subscriber's next expected change is noted once for each time that it changes, so that a night costs what
 * the day has changed and not what is stored.
 *
 * @throws AppError when RevenueCat is away
 */
export async function reconcileWorkspace(
  context: RefreshContext,
  workspaceId: string,
  signal: AbortSignal,
): Promise<Reconciliation> {
  await markChanged(context, workspaceId, signal);
  const counts = { checked: 0, corrected: 0, unknown: 0 };
  const differences: Record<string, number> = {};
  while (!signal.aborted) {
    const overdue = await listOverdue(context.database, workspaceId, context.now(), CHECKED_AT_ONCE);
    if (overdue.length === 0) return { ...counts, differences, continueAtMs: null };
    for (const subscriberId of overdue) {
      if (signal.aborted) break;
      try {
        const codes = await check(context, workspaceId, subscriberId);
        counts.checked += 1;
        if (codes === null) counts.unknown += 1;
        else if (codes.length > 0) counts.corrected += 1;
        for (const code of new Set((codes ?? []).map((each) => each.split(':')[0] ?? each))) {
          differences[code] = (differences[code] ?? 0) + 1;
        }
      } catch (error) {
        if (!(error instanceof AppError) || error.remedy.kind !== 'wait_until') throw error;
        return { ...counts, differences, continueAtMs: error.remedy.atMs };
      }
    }
  }
  return { ...counts, differences, continueAtMs: context.now() };
}

async function markChanged(context: RefreshContext, workspaceId: string, signal: AbortSignal): Promise<void> {
  const { database } = context;
  for (let after = FIRST_ID; !signal.aborted; ) {
    const changed = await listUnmarked(database, workspaceId, after, MARKED_AT_ONCE);
    const last = changed.at(-1);
    if (!last) return;
    const marks: { subscriberId: string; version: string; checkAtMs: number | null }[] = [];
    for (let from = 0; from < changed.length; from += READ_AT_ONCE) {
      const some = changed.slice(from, from + READ_AT_ONCE);
      const known = await Promise.all(
        some.map(({ subscriberId, hasEvents }) => readKnown(context, workspaceId, subscriberId, hasEvents)),
      );
      for (const [index, { events, snapshot }] of known.entries()) {
        const { subscriberId = '', version = '0' } = some[index] ?? {};
        marks.push({ subscriberId, version, checkAtMs: expectedChangeAt(events, snapshot) });
      }
    }
    await saveMarks(database, workspaceId, marks);
    after = last.subscriberId;
  }
}

async function readKnown(
  context: RefreshContext,
  workspaceId: string,
  subscriberId: string,
  hasEvents: boolean,
): Promise<{ events: readonly LifecycleEvent[]; snapshot: Snapshot | null }> {
  const [subscriber, events] = await Promise.all([
    readSubscriber(context.database, workspaceId, subscriberId),
    hasEvents ? readHistory(context.database, workspaceId, subscriberId) : [],
  ]);
  return { events, snapshot: subscriber?.snapshot ?? null };
}

/** @returns what RevenueCat corrected; `null`: it does not know the customer */
async function check(
  context: RefreshContext,
  workspaceId: string,
  subscriberId: string,
): Promise<string[] | null> {
  const before = await readKnown(context, workspaceId, subscriberId, true);
  const outcome = await refreshSubscriber(context, workspaceId, subscriberId, 'bulk');
  // From now on none of the project's are listed.
  if (outcome === 'key_rejected') return [];
  if (outcome !== 'refreshed') {
    await dropMark(context.database, workspaceId, subscriberId);
    return outcome === 'unknown_customer' ? null : [];
  }
  const after = await readKnown(context, workspaceId, subscriberId, true);
  // Joined with another subscriber meanwhile, who has a mark of their own.
  if (after.snapshot === null) return [];
  const nowMs = context.now();
  const codes = compareWithSnapshot(
    deriveState(before.events, before.snapshot, nowMs),
    deriveState(after.events, after.snapshot, nowMs),
  );
  if (codes.length > 0) {
    context.logger.info(
      { workspaceId, subscriberId, codes },
      'a change had no event: corrected by what RevenueCat told',
    );
  }
  return codes;
}
