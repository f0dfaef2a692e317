import type { Sql } from '../database/sql.ts';
import {
  readHistory,
  readHistoryWithSources,
  readSubscriber,
  type TimelineEntry,
} from '../subscribers/store.ts';
import type { Names } from '../subscription/describe-event.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { deriveState } from '../subscription/state.ts';
import { isUsable, saveSummaries, summarize } from '../subscription/summary.ts';
import type { SubscriberState } from '../subscription/types.ts';
import type { MessengerContext } from './context.ts';
import { findOwned, findSummaries, type KeptSummary, listOwnEventIds, readNames } from './customer-store.ts';

/** One customer in one RevenueCat project. */
export interface OwnSubscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserIds: readonly string[];
  readonly state: SubscriberState;
  /** Everything that the state rests on, oldest first; with what others gave by transfer. */
  readonly history: readonly TimelineEntry[];
  readonly snapshotAtMs: number | null;
  /** Whether RevenueCat can be asked about it. */
  readonly canRefresh: boolean;
}

/**
 * The subscribers that one app user id stands for: one in each connected project at most, the one that gives
 * access first. Only by this very id: no e-mail and no saved link ever opens a customer's data to a browser.
 *
 * @param appUserId proven by the workspace's own key, or by Intercom's signed word on a contact
 */
async function findOwn(
  sql: Sql,
  workspaceId: string,
  appUserId: string,
  nowMs: number,
): Promise<OwnSubscriber[]> {
  if (isBlockedId(appUserId)) return [];
  const found = await findOwned(sql, workspaceId, appUserId);
  const own = await Promise.all(
    found.map(async ({ subscriberId, canRefresh }) => {
      const [subscriber, history] = await Promise.all([
        readSubscriber(sql, workspaceId, subscriberId),
        readHistory(sql, workspaceId, subscriberId),
      ]);
      if (!subscriber) return null;
      const { projectId, appUserIds, snapshot, snapshotAtMs } = subscriber;
      const state = deriveState(history, snapshot, nowMs);
      return { subscriberId, projectId, appUserIds, state, history, snapshotAtMs, canRefresh };
    }),
  );
  return own.filter((each) => each !== null).sort(compareOwn);
}

/** What a subscriber's attributes are made of. */
export type OwnState = Pick<OwnSubscriber, 'subscriberId' | 'appUserIds' | 'state'>;

/**
 * The state alone of the one that gives access first, without reading a whole history where a summary of it is
 * kept: identity tokens are asked for at every start of an app. `null`: nobody is known by this id.
 */
export async function findOwnState(
  context: MessengerContext,
  workspaceId: string,
  appUserId: string,
): Promise<OwnState | null> {
  if (isBlockedId(appUserId)) return null;
  const kept = await findSummaries(context.readDatabase, workspaceId, appUserId);
  const states = await Promise.all(
    kept.map(async (each) => ({
      subscriberId: each.subscriberId,
      appUserIds: each.appUserIds,
      state: await stateOf(context, workspaceId, each),
    })),
  );
  return states.sort(compareOwn)[0] ?? null;
}

async function stateOf(
  { database, readDatabase, logger, now }: MessengerContext,
  workspaceId: string,
  { subscriberId, version, stored }: KeptSummary,
): Promise<SubscriberState> {
  const nowMs = now();
  if (stored !== null && isUsable(stored, version, nowMs)) return stored.summary.state;
  const [subscriber, history] = await Promise.all([
    readSubscriber(readDatabase, workspaceId, subscriberId),
    readHistoryWithSources(readDatabase, workspaceId, subscriberId),
  ]);
  const summary = summarize(history.events, subscriber?.snapshot ?? null, nowMs);
  // With purchases of another subscriber in it, it would not notice that one's late events.
  if (history.sources.length === 1) {
    saveSummaries(database, workspaceId, [{ subscriberId, version, summary, nowMs }]).catch(
      (error: unknown) => {
        logger.warn({ err: error, workspaceId, subscriberId }, 'could not keep a summary');
      },
    );
  }
  return summary.state;
}

function compareOwn(a: OwnState, b: OwnState): number {
  const access =
    Number(b.state.primary?.givesAccess ?? false) - Number(a.state.primary?.givesAccess ?? false);
  if (access !== 0) return access;
  const last = (b.state.lastEvent?.atMs ?? -1) - (a.state.lastEvent?.atMs ?? -1);
  return last !== 0 ? last : a.subscriberId < b.subscriberId ? -1 : 1;
}

/** A customer with what is needed to tell them about it. */
export interface OwnCustomer extends OwnSubscriber {
  readonly names: Names;
  /** Events of this customer alone, oldest first: what a giver did before a transfer is not theirs to see. */
  readonly ownHistory: readonly TimelineEntry[];
}

/** The same with names, and without what others did. */
export async function readOwnCustomers(
  sql: Sql,
  workspaceId: string,
  appUserId: string,
  nowMs: number,
): Promise<OwnCustomer[]> {
  const own = await findOwn(sql, workspaceId, appUserId, nowMs);
  return Promise.all(
    own.map(async (subscriber) => ({
      ...subscriber,
      names: await readNames(sql, workspaceId, subscriber.projectId),
      ownHistory: await ownHistory(sql, workspaceId, subscriber),
    })),
  );
}

async function ownHistory(
  sql: Sql,
  workspaceId: string,
  { subscriberId, history }: OwnSubscriber,
): Promise<readonly TimelineEntry[]> {
  const received = history.some((event) => event.kind === 'transfer' || event.kind === 'purchase_redeemed');
  if (!received) return history;
  const ids = await listOwnEventIds(sql, workspaceId, subscriberId);
  return history.filter((event) => ids.has(`${event.projectId}|${event.id}|${event.side}`));
}

/** A snapshot older than this is renewed in the background when a customer looks, ms. */
const SNAPSHOT_MAX_AGE_MS = 15 * 60_000;

export function needsRefresh(subscriber: OwnSubscriber, nowMs: number): boolean {
  const { canRefresh, snapshotAtMs } = subscriber;
  return canRefresh && (snapshotAtMs === null || nowMs - snapshotAtMs > SNAPSHOT_MAX_AGE_MS);
}
