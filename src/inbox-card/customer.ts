import type { Sql } from '../database/sql.ts';
import { type Grant, listGrants } from '../grants/store.ts';
import { preferredAppUserIds } from '../subscribers/identities.ts';
import { deriveState } from '../subscribers/state.ts';
import {
  type FoundSubscriber,
  findByAppUserIds,
  findByEmail,
  readHistory,
  readLinks,
  readSubscriber,
  type TimelineEntry,
} from '../subscribers/store.ts';
import type { Customer, Visit } from './context.ts';

/** Whom a card is about. */
export type Match =
  | { readonly kind: 'one'; readonly subscriberId: string; readonly isLinked: boolean }
  | { readonly kind: 'several'; readonly found: readonly FoundSubscriber[] }
  | { readonly kind: 'possible'; readonly found: readonly FoundSubscriber[] }
  | { readonly kind: 'none' };

/**
 * By a saved link, else by `external_id`, else by e-mail where the workspace wants it. An e-mail can be written
 * by anybody with the public key, so it only ever gives a possible match.
 */
export async function matchContact(visit: Visit): Promise<Match> {
  const { contact, workspaceId } = visit.request;
  const sql = visit.context.readDatabase;
  if (contact.id !== '') {
    const [link] = await readLinks(sql, workspaceId, contact.id);
    if (link) return { kind: 'one', subscriberId: link.subscriberId, isLinked: true };
  }
  if (contact.externalId !== null) {
    const found = distinct(await findByAppUserIds(sql, workspaceId, [contact.externalId]));
    if (found.length > 1) return { kind: 'several', found };
    if (found[0]) return { kind: 'one', subscriberId: found[0].subscriberId, isLinked: false };
  }
  if (contact.email !== null && visit.workspace.settings.contacts.matchByEmail) {
    const found = distinct(await findByEmail(sql, workspaceId, contact.email));
    if (found.length > 0) return { kind: 'possible', found };
  }
  return { kind: 'none' };
}

export function distinct(found: readonly FoundSubscriber[]): FoundSubscriber[] {
  const seen = new Set<string>();
  return found.filter(({ subscriberId }) => !seen.has(subscriberId) && seen.add(subscriberId));
}

/** `null`: the subscriber is not of this workspace, or was merged away. */
export async function loadCustomer(
  visit: Visit,
  subscriberId: string,
  isLinked: boolean,
): Promise<Customer | null> {
  const { request, context, projects } = visit;
  const { workspaceId } = request;
  const sql = context.readDatabase;
  const [subscriber, events, grants] = await Promise.all([
    readSubscriber(sql, workspaceId, subscriberId),
    readHistory(sql, workspaceId, subscriberId),
    listGrants(sql, workspaceId, subscriberId),
  ]);
  const project = subscriber && projects.find((candidate) => candidate.projectId === subscriber.projectId);
  if (!subscriber || !project) return null;
  const history = withGrants(events, grants, subscriber.snapshotAtMs);
  return {
    subscriber,
    project,
    history,
    grants,
    state: deriveState(history, subscriber.snapshot, context.now()),
    names: await readNames(sql, workspaceId, project.projectId),
    isLinked,
    appUserId: preferredAppUserIds(subscriber.appUserIds)[0] ?? '',
  };
}

async function readNames(sql: Sql, workspaceId: string, projectId: string): Promise<Customer['names']> {
  const rows = await sql.query<{ kind: string; lookup_key: string; display_name: string | null }>(
    `select kind, lookup_key, display_name from catalog where workspace_id = $1 and project_id = $2`,
    [workspaceId, projectId],
    'read-names',
  );
  const names = new Map(rows.map((row) => [`${row.kind}|${row.lookup_key}`, row.display_name]));
  return {
    product: (id) => names.get(`product|${id}`) ?? null,
    entitlement: (key) => names.get(`entitlement|${key}`) ?? null,
  };
}

const DAY_MS = 86_400_000;

/** Adds the grants made here whose webhook has not come yet, as the events that it will bring. */
function withGrants(
  events: readonly TimelineEntry[],
  grants: readonly Grant[],
  snapshotAtMs: number | null,
): TimelineEntry[] {
  const added: TimelineEntry[] = [];
  for (const grant of grants) {
    if (grant.state !== 'confirmed' && grant.state !== 'revoked') continue;
    if (!hasWebhook(events, grant, 'promotional_granted', grant.createdAtMs)) {
      added.push(eventOf(grant, 'NON_RENEWING_PURCHASE', 'promotional_granted', grant.createdAtMs));
    }
    const revokedAtMs = grant.revokedAtMs;
    if (revokedAtMs === null || hasWebhook(events, grant, 'promotional_revoked', revokedAtMs)) continue;
    // Our clock and RevenueCat's may differ: what the snapshot says after it is the newer word.
    if (snapshotAtMs === null || revokedAtMs >= snapshotAtMs - DAY_MS) {
      added.push(eventOf(grant, 'CANCELLATION', 'promotional_revoked', revokedAtMs));
    }
  }
  return added.length === 0 ? [...events] : [...events, ...added].sort((a, b) => a.atMs - b.atMs);
}

function hasWebhook(events: readonly TimelineEntry[], grant: Grant, kind: string, atMs: number): boolean {
  return events.some(
    (event) =>
      event.kind === kind &&
      event.entitlements.includes(grant.lookupKey) &&
      event.atMs > atMs - 10 * 60_000 &&
      event.atMs < atMs + DAY_MS,
  );
}

function eventOf(grant: Grant, type: string, kind: TimelineEntry['kind'], atMs: number): TimelineEntry {
  return {
    id: `grant-${grant.grantId}-${kind}`,
    type,
    kind,
    atMs,
    side: 'subject',
    environment: 'production',
    store: 'PROMOTIONAL',
    productId: null,
    newProductId: null,
    entitlements: [grant.lookupKey],
    periodType: 'PROMOTIONAL',
    purchasedAtMs: grant.createdAtMs,
    expiresAtMs: grant.realEndMs ?? grant.askedEndMs,
    gracePeriodEndsAtMs: null,
    resumesAtMs: null,
    isTrialConversion: false,
    cancelReason: kind === 'promotional_revoked' ? 'DEVELOPER_INITIATED' : null,
    expirationReason: null,
    price: null,
    priceUsdCents: null,
    transactionId: null,
    originalTransactionId: null,
    isFamilyShare: false,
    renewalNumber: null,
    offerCode: null,
    country: null,
    transferredFrom: [],
    transferredTo: [],
    raw: {},
    projectId: grant.projectId,
    delivery: {
      state: 'skipped',
      reason: 'grant',
      attempts: 0,
      nextTryAtMs: null,
      deliveredAtMs: null,
      sentName: null,
    },
  };
}
