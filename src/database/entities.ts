import type {
  EntitySchema,
  EntitySchemaColumnOptions,
  FindOptionsWhere,
  QueryDeepPartialEntity,
} from 'typeorm';
import {
  bigint,
  boolean,
  entity,
  integer,
  jsonb,
  key,
  nullable,
  type RowOf,
  text,
  timestamptz,
  uuid,
} from './columns.ts';
import type { Entities } from './sql.ts';

/**
 * Entities of the ordinary tables: each declares its columns once, and the type of its rows follows. Repositories use
 * SQL instead for the hot tables (webhooks, events, deliveries, subscribers), reads from a replica, locks, and
 * statements over all workspaces. A test compares the entities with the migrated schema.
 */

/** A select list for SQL by hand that gives rows the shape of the entity; all columns by default. */
export function columnsOf<R extends object>(
  { options }: EntitySchema<R>,
  properties: readonly (keyof R & string)[] = Object.keys(options.columns) as (keyof R & string)[],
): string {
  return properties.map((property) => `${options.columns[property]?.name} as "${property}"`).join(', ');
}

type OfWorkspace = { workspaceId: string };

/** Changes rows of one workspace. @returns whether there were any */
export async function updateRows<R extends OfWorkspace>(
  { manager }: Entities,
  entity: EntitySchema<R>,
  where: FindOptionsWhere<R> & Readonly<OfWorkspace>,
  changes: QueryDeepPartialEntity<R>,
): Promise<boolean> {
  const { affected } = await manager.update(entity, where, changes);
  return (affected ?? 0) > 0;
}

/** Inserts rows or overwrites their columns. TypeORM's own `upsert` also sets the key, which Citus refuses. */
export async function upsert<R extends OfWorkspace>(
  { manager }: Entities,
  entity: EntitySchema<R>,
  rows: QueryDeepPartialEntity<R>[],
): Promise<void> {
  const columns: Record<string, EntitySchemaColumnOptions | undefined> = entity.options.columns;
  const names = (ofKey: boolean): string[] =>
    Object.keys(rows[0] ?? {}).flatMap((property) => {
      const { name = '', primary = false } = columns[property] ?? {};
      return primary === ofKey ? [name] : [];
    });
  const insert = manager.createQueryBuilder().insert().into(entity).values(rows);
  await insert.orUpdate(names(false), names(true)).execute();
}

/** A teammate in Intercom, as stored with what they did. */
export interface Actor {
  readonly id: string;
  readonly name: string;
}

/** Intercom does not always send a teammate's e-mail. */
export interface Teammate extends Actor {
  readonly email: string | null;
}

export type ContactLinkRow = RowOf<typeof ContactLinkEntity>;
export const ContactLinkEntity = entity('contact_links', {
  workspaceId: key(text()),
  contactId: key(text()),
  projectId: key(text()),
  subscriberId: uuid(),
  madeBy: jsonb<Actor>(),
  madeAt: timestamptz(),
});

/** Problems of the whole workspace that an admin can fix while the events wait, however long that takes. */
export const REFUSAL_CODES = ['intercom_scope_missing', 'intercom_plan_restricted'] as const;

export interface Refusal {
  readonly code: (typeof REFUSAL_CODES)[number];
  /** Intercom's own message, which names the permission. */
  readonly message: string;
  /** UTC, ISO 8601. */
  readonly since: string;
}

/** An Intercom workspace that has (or had) the app installed. */
export type WorkspaceRow = RowOf<typeof WorkspaceEntity>;
export const WorkspaceEntity = entity('workspaces', {
  /** Intercom's `id_code`, which is also the `app_id` of webhooks and the `workspace_id` of Canvas Kit. */
  workspaceId: key(text()),
  name: text(),
  region: text<'US' | 'EU' | 'AU'>(),
  /** IANA name: `Europe/Dublin`. */
  timezone: text(),
  /** Encrypted; `null` after an uninstall. */
  accessToken: nullable(text()),
  status: text<'connected' | 'disconnected' | 'uninstalled'>(),
  /** A failure code, shown in the settings. */
  statusReason: nullable(text()),
  settings: jsonb<unknown>(),
  messengerSecret: nullable(text()),
  erasureKey: nullable(text()),
  /** Whether Intercom lets only verified users into the Messenger; `null`: not known. */
  identityVerification: nullable(boolean()),
  /** Not used any more, like `installedAt`: the audit log says who installed the app and when. */
  installedBy: nullable(jsonb<unknown>()),
  installedAt: timestamptz(),
  uninstalledAt: nullable(timestamptz()),
  disconnectedAt: nullable(timestamptz()),
  /** When both platforms last confirmed that they accept our access. */
  checkedAt: nullable(timestamptz()),
  attributesReady: boolean(),
  notBefore: nullable(timestamptz()),
  lastClaimedAt: nullable(timestamptz()),
  /** What Intercom refuses because a permission or a plan is missing, while it accepts everything else. */
  refusals: jsonb<Readonly<Partial<Record<'events' | 'contacts', Refusal>>>>(),
  /** The health state that was last reported to Intercom; `null`: none since the installation. */
  reportedHealth: { ...nullable(jsonb<object>()), name: 'health_told' },
});

/** A RevenueCat project that a workspace has connected. */
export type ProjectRow = RowOf<typeof ProjectEntity>;
export const ProjectEntity = entity('projects', {
  workspaceId: key(text()),
  /** Our own id, part of the webhook's address: the workspace's id, a dash and a random part. */
  projectId: key(text()),
  revenueCatProjectId: text(),
  name: text(),
  /** Encrypted; `null`: webhooks only. */
  apiKey: nullable(text()),
  apiKeyState: text<'none' | 'unchecked' | 'valid' | 'rejected'>(),
  /** Permissions that the key lacked when it was last checked, by RevenueCat's names. */
  missingScopes: jsonb<readonly string[]>(),
  /** Empty: disconnected. No secret has an empty hash, so every webhook is refused. */
  webhookAuthHash: text(),
  /** Encrypted; `null`: none. */
  signingSecret: nullable(text()),
  webhookId: nullable(text()),
  lastReceivedAt: nullable(timestamptz()),
  lastRefusedAt: nullable(timestamptz()),
  refusedFor: nullable(text<'authorization' | 'signature'>()),
  disconnectedAt: nullable(timestamptz()),
  /** The `webhookAuthHash` that undoing the disconnection restores. */
  disconnectedAuthHash: nullable(text()),
  createdAt: timestamptz(),
});

/** The OAuth `state` of a browser that was redirected to Intercom. */
export const OAuthStateEntity = entity('oauth_states', {
  stateHash: key(text()),
  purpose: text(),
  expiresAt: timestamptz(),
});

export type SessionRow = RowOf<typeof SessionEntity>;
export const SessionEntity = entity('sessions', {
  workspaceId: key(text()),
  sessionHash: key(text()),
  admin: jsonb<Actor & { readonly email: string }>(),
  csrf: text(),
  userAgent: text(),
  createdAt: timestamptz(),
  lastSeenAt: timestamptz(),
  expiresAt: timestamptz(),
});

export type ApiKeyRow = RowOf<typeof ApiKeyEntity>;
export const ApiKeyEntity = entity('api_keys', {
  workspaceId: key(text()),
  keyHash: key(text()),
  keyId: uuid(),
  kind: text<'messenger' | 'fin'>(),
  name: text(),
  prefix: text(),
  createdBy: jsonb<Actor>(),
  createdAt: timestamptz(),
  lastUsedAt: nullable(timestamptz()),
  revokedAt: nullable(timestamptz()),
});

export const UsedSupportLinkEntity = entity('used_support_links', {
  workspaceId: key(text()),
  linkHash: key(text()),
  expiresAt: timestamptz(),
});

export type CatalogRow = RowOf<typeof CatalogEntity>;
export const CatalogEntity = entity('catalog', {
  workspaceId: key(text()),
  projectId: key(text()),
  kind: key(text<'entitlement' | 'product'>()),
  /** RevenueCat's id. */
  id: key(text()),
  /** An entitlement's lookup key, a product's store identifier. */
  lookupKey: text(),
  displayName: nullable(text()),
  fetchedAt: timestamptz(),
  /** `false`: an entitlement that was deleted or archived. It still names old events, but cannot be granted. */
  isActive: boolean(),
});

/** One import of a project's history. Counts are of customers unless the name says otherwise. */
export type ImportRow = RowOf<typeof ImportEntity>;
export const ImportEntity = entity('imports', {
  workspaceId: key(text()),
  projectId: key(text()),
  importId: key(uuid()),
  state: text<'running' | 'paused' | 'cancelled' | 'done' | 'failed'>(),
  /** Error code: why it has failed, or what it waits for. */
  reason: nullable(text()),
  /** Events since this time are delivered to contacts; `null`: none are. */
  eventsSinceMs: { ...nullable(bigint()), name: 'events_since' },
  /** Whether RevenueCat offers the events; `null`: unknown yet. */
  hasEvents: nullable(boolean()),
  /** Points to the next page of RevenueCat's list. */
  cursor: nullable(text()),
  /** Whether all customers are listed: only then is `listed` the total. */
  isListed: boolean(),
  listed: integer(),
  done: integer(),
  newCustomers: integer(),
  /** RevenueCat listed them, then answered 404. */
  missing: integer(),
  /** Given up after several attempts. */
  failed: integer(),
  subscriptions: integer(),
  purchases: integer(),
  newEvents: integer(),
  knownEvents: integer(),
  /** Not used any more: the audit log says who started it. */
  startedBy: jsonb<unknown>(),
  startedAt: timestamptz(),
  finishedAt: nullable(timestamptz()),
  seenAt: timestamptz(),
  /** Customers done at two earlier times, at least 20 s apart. The rate is measured from the earlier one. */
  paceAt: timestamptz(),
  paceDone: integer(),
  paceBeforeAt: timestamptz(),
  paceBeforeDone: integer(),
});

/** A customer that an import has to read. */
export const ImportCustomerEntity = entity('import_customers', {
  workspaceId: key(text()),
  projectId: key(text()),
  importId: key(uuid()),
  customerId: key(text()),
  attempts: integer(),
  notBefore: timestamptz(),
  /** Why it was not read; `null`: it was read, or has yet to be. */
  code: nullable(text()),
  doneAt: nullable(timestamptz()),
});

/** One grant for many customers: each customer's own grant is an action. */
export type BulkGrantRow = RowOf<typeof BulkGrantEntity>;
export const BulkGrantEntity = entity('bulk_grants', {
  workspaceId: key(text()),
  bulkGrantId: key(uuid()),
  projectId: text(),
  entitlementId: text(),
  lookupKey: text(),
  entitlementName: text(),
  duration: text(),
  start: text<'after' | 'now'>(),
  reason: text(),
  admin: jsonb<Teammate>(),
  /** Who approved or declined it. */
  decidedBy: nullable(jsonb<Teammate>()),
  /** How its customers are chosen; `null`: a list names them. */
  customerGroup: nullable(jsonb<unknown>()),
  state: text<
    | ('choosing' | 'draft' | 'awaiting_approval' | 'declined' | 'withdrawn')
    | ('running' | 'paused' | 'done' | 'undoing' | 'undone')
  >(),
  /** Customers of the list that have been erased: they get nothing, and are not stored. */
  leftOut: integer(),
  createdAt: timestamptz(),
  /** Written by earlier versions only. */
  startedAt: nullable(timestamptz()),
  finishedAt: nullable(timestamptz()),
});

/** What became of one customer of a bulk grant. `unchanged`: the grant would have changed nothing. */
export type BulkGrantCustomerRow = RowOf<typeof BulkGrantCustomerEntity>;
export const BulkGrantCustomerEntity = entity('bulk_grant_customers', {
  workspaceId: key(text()),
  bulkGrantId: key(uuid()),
  appUserId: key(text()),
  state: text<'pending' | 'granted' | 'unchanged' | 'failed' | 'undone' | 'undo_failed'>(),
  attempts: integer(),
  actionId: nullable(uuid()),
  error: nullable(text()),
  claimedUntil: nullable(timestamptz()),
  finishedAt: nullable(timestamptz()),
});

export type AuditRow = RowOf<typeof AuditEntity>;
export const AuditEntity = entity('audit_log', {
  workspaceId: key(text()),
  auditId: key(bigint()),
  at: timestamptz(),
  actor: jsonb<Teammate>(),
  action: text(),
  conversationId: nullable(text()),
  contactId: nullable(text()),
  subscriberId: nullable(uuid()),
  details: jsonb<Readonly<Record<string, unknown>>>(),
  result: text(),
});

export const ENTITIES = [
  ContactLinkEntity,
  WorkspaceEntity,
  ProjectEntity,
  OAuthStateEntity,
  SessionEntity,
  ApiKeyEntity,
  UsedSupportLinkEntity,
  CatalogEntity,
  ImportEntity,
  ImportCustomerEntity,
  BulkGrantEntity,
  BulkGrantCustomerEntity,
  AuditEntity,
];
