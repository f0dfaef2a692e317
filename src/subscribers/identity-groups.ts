import { randomUUID } from 'node:crypto';
import type { Sql } from '../database/sql.ts';
import type { KnownIds } from '../ingestion/known-ids.ts';
import { findOwners } from './identity-store.ts';

/** One customer as a batch of events shows it: ids that belong together, and who it is known as. */
export interface IdentityGroup {
  readonly ids: Set<string>;
  /** Those of `ids` that were stored before. */
  readonly knownIds: Set<string>;
  subscriberId: string;
  /** Known subscribers that turn out to be the same customer, beside `subscriberId`. */
  readonly mergeFrom: Set<string>;
  isNew: boolean;
}

export function newIdentityGroup(): IdentityGroup {
  return {
    ids: new Set(),
    knownIds: new Set(),
    subscriberId: randomUUID(),
    mergeFrom: new Set(),
    isNew: true,
  };
}

/**
 * Groups app user ids into customers: those that stand together, or belong to one subscriber already, are one's.
 *
 * @param groups app user ids, those of one customer together
 * @returns by app user id
 */
export async function findIdentityGroups(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  groups: readonly (readonly string[])[],
  known: KnownIds | null = null,
): Promise<Map<string, IdentityGroup>> {
  const byId = new Map<string, IdentityGroup>();
  const bySubscriber = new Map<string, IdentityGroup>();
  for (const ids of groups) addParty(byId, ids);
  const unknown: string[] = [];
  for (const id of byId.keys()) {
    const subscriberId = known?.get(projectId, id);
    if (subscriberId === undefined) unknown.push(id);
    else assign(byId, bySubscriber, id, subscriberId);
  }
  if (unknown.length === 0) return byId;
  const owners = await findOwners(sql, workspaceId, projectId, unknown);
  for (const [id, subscriberId] of owners) assign(byId, bySubscriber, id, subscriberId);
  return byId;
}

/**
 * An id of a party belongs to this subscriber: the party is that one, or several that must become one. Two parties
 * of one subscriber are one: each by itself would merge it with others, and the second would find it gone.
 */
function assign(
  byId: Map<string, IdentityGroup>,
  bySubscriber: Map<string, IdentityGroup>,
  appUserId: string,
  subscriberId: string,
): void {
  const own = byId.get(appUserId);
  if (!own) return;
  const party = bySubscriber.get(subscriberId) ?? own;
  if (party !== own) {
    absorb(byId, party, own);
    if (!own.isNew) {
      for (const other of [own.subscriberId, ...own.mergeFrom]) {
        party.mergeFrom.add(other);
        bySubscriber.set(other, party);
      }
    }
  }
  bySubscriber.set(subscriberId, party);
  party.knownIds.add(appUserId);
  if (party.isNew) {
    party.subscriberId = subscriberId;
    party.isNew = false;
  } else if (party.subscriberId !== subscriberId) {
    party.mergeFrom.add(subscriberId);
  }
}

function addParty(byId: Map<string, IdentityGroup>, ids: readonly string[]): void {
  if (ids.length === 0) return;
  let party: IdentityGroup | undefined;
  for (const id of ids) {
    const known = byId.get(id);
    if (!known || known === party) continue;
    if (party) absorb(byId, party, known);
    else party = known;
  }
  party ??= newIdentityGroup();
  for (const id of ids) {
    party.ids.add(id);
    byId.set(id, party);
  }
}

/** The ids of one party are another's from now on. */
function absorb(byId: Map<string, IdentityGroup>, party: IdentityGroup, other: IdentityGroup): void {
  for (const id of other.ids) {
    party.ids.add(id);
    byId.set(id, party);
  }
  for (const id of other.knownIds) party.knownIds.add(id);
}
