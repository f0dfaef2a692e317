import { EntitySchema, type EntitySchemaColumnOptions, type QueryDeepPartialEntity } from 'typeorm';
import type { Entities } from './sql.ts';

/**
 * The ordinary tables, for repositories. Columns have the property's name in snake case. The hot tables (events,
 * deliveries, subscribers) are read and written by SQL in the repositories that own them. A test compares the
 * entities with the migrated schema.
 */

type ColumnType = 'text' | 'uuid' | 'timestamptz' | 'jsonb' | 'boolean' | 'integer' | 'bigint';

const key = (type: ColumnType): EntitySchemaColumnOptions => ({ type, primary: true });
const column = (type: ColumnType): EntitySchemaColumnOptions => ({ type });
const optional = (type: ColumnType): EntitySchemaColumnOptions => ({ type, nullable: true });
/** Ids and times in ms fit into a number; PostgreSQL's driver would return texts. */
const bigint = (options: Partial<EntitySchemaColumnOptions> = {}): EntitySchemaColumnOptions => ({
  ...options,
  type: 'bigint',
  transformer: { to: (value: unknown) => value, from: (value: string | null) => value && Number(value) },
});

function entity<Row extends object>(
  tableName: string,
  columns: { readonly [Name in keyof Row & string]-?: EntitySchemaColumnOptions },
): EntitySchema<Row> {
  const named = Object.entries<EntitySchemaColumnOptions>(columns).map(([property, options]) => [
    property,
    { ...options, name: columnOf(property) },
  ]);
  return new EntitySchema<Row>({ name: tableName, tableName, columns: Object.fromEntries(named) });
}

const columnOf = (property: string): string =>
  property.replace('revenueCat', 'revenuecat').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** A select list that gives rows the shape of the entity, for statements by hand. */
export function columnsOf<Row>(properties: readonly (keyof Row & string)[]): string {
  return properties.map((property) => `${columnOf(property)} as "${property}"`).join(', ');
}

/** Inserts a row or overwrites its columns. TypeORM's own `upsert` also sets the key, which Citus refuses. */
export async function upsert<Row extends object>(
  { manager }: Entities,
  entity: EntitySchema<Row>,
  row: QueryDeepPartialEntity<Row>,
): Promise<void> {
  const { columns } = entity.options as { columns: Record<string, EntitySchemaColumnOptions> };
  const [keys, others] = [true, false].map((isKey) =>
    Object.keys(row).filter((name) => (columns[name]?.primary ?? false) === isKey),
  );
  const insert = manager.createQueryBuilder().insert().into(entity).values(row);
  await insert.orUpdate((others ?? []).map(columnOf), (keys ?? []).map(columnOf)).execute();
}

/** A teammate in Intercom, as stored with what they did. */
export interface Actor {
  readonly id: string;
  readonly name: string;
}

export interface WebhookRow {
  workspaceId: string;
  projectId: string;
  eventId: string;
  sequence: number;
  receivedAt: Date;
  payload: string;
  processedAt: Date | null;
  error: string | null;
  prunedFor: string | null;
}

export const WebhookEntity = entity<WebhookRow>('webhooks', {
  workspaceId: key('text'),
  projectId: key('text'),
  eventId: key('text'),
  sequence: bigint(),
  receivedAt: column('timestamptz'),
  payload: column('text'),
  processedAt: optional('timestamptz'),
  error: optional('text'),
  prunedFor: optional('text'),
});

export interface ContactLinkRow {
  workspaceId: string;
  contactId: string;
  projectId: string;
  subscriberId: string;
  madeBy: Actor;
  madeAt: Date;
}

export const ContactLinkEntity = entity<ContactLinkRow>('contact_links', {
  workspaceId: key('text'),
  contactId: key('text'),
  projectId: key('text'),
  subscriberId: column('uuid'),
  madeBy: column('jsonb'),
  madeAt: column('timestamptz'),
});

export interface SessionRow {
  workspaceId: string;
  sessionHash: string;
  admin: Actor & { readonly email: string };
  csrf: string;
  userAgent: string;
  createdAt: Date;
  lastSeenAt: Date;
  expiresAt: Date;
}

/** An Intercom workspace that has (or had) the app installed. */
export interface WorkspaceRow {
  /** Intercom's `id_code`, which is also the `app_id` of webhooks and the `workspace_id` of Canvas Kit. */
  workspaceId: string;
  name: string;
  region: 'US' | 'EU' | 'AU';
  /** IANA name: `Europe/Dublin`. */
  timezone: string;
  /** Encrypted; `null` after an uninstall. */
  accessToken: string | null;
  status: 'connected' | 'disconnected' | 'uninstalled';
  /** A failure code, shown in the settings. */
  statusReason: string | null;
  settings: unknown;
  messengerSecret: string | null;
  erasureKey: string | null;
  /** Whether Intercom lets only verified users into the Messenger; `null`: not known. */
  identityVerification: boolean | null;
  installedBy: unknown;
  installedAt: Date;
  uninstalledAt: Date | null;
  disconnectedAt: Date | null;
  /** When both platforms last confirmed that they accept our access. */
  checkedAt: Date | null;
  attributesReady: boolean;
  notBefore: Date | null;
  lastClaimedAt: Date | null;
  /** What Intercom refuses because a permission or a plan is missing, while it accepts everything else. */
  refusals: Readonly<Partial<Record<'events' | 'contacts', Refusal>>>;
  /** The health state that was last reported to Intercom; `null`: none since the installation. */
  healthTold: object | null;
}

/** Problems of the whole workspace that an admin can fix while the events wait, however long that takes. */
export const REFUSAL_CODES = ['intercom_scope_missing', 'intercom_plan_restricted'] as const;

export interface Refusal {
  readonly code: (typeof REFUSAL_CODES)[number];
  /** Intercom's own message, which names the permission. */
  readonly message: string;
  /** UTC, ISO 8601. */
  readonly since: string;
}

export const WorkspaceEntity = entity<WorkspaceRow>('workspaces', {
  workspaceId: key('text'),
  name: column('text'),
  region: column('text'),
  timezone: column('text'),
  accessToken: optional('text'),
  status: column('text'),
  statusReason: optional('text'),
  settings: column('jsonb'),
  messengerSecret: optional('text'),
  erasureKey: optional('text'),
  identityVerification: optional('boolean'),
  installedBy: optional('jsonb'),
  installedAt: column('timestamptz'),
  uninstalledAt: optional('timestamptz'),
  disconnectedAt: optional('timestamptz'),
  checkedAt: optional('timestamptz'),
  attributesReady: column('boolean'),
  notBefore: optional('timestamptz'),
  lastClaimedAt: optional('timestamptz'),
  refusals: column('jsonb'),
  healthTold: optional('jsonb'),
});

/** A RevenueCat project that a workspace has connected. */
export interface ProjectRow {
  workspaceId: string;
  /** Our own id, part of the webhook's address: the workspace's id, a dash and a random part. */
  projectId: string;
  revenueCatProjectId: string;
  name: string;
  /** Encrypted; `null`: webhooks only. */
  apiKey: string | null;
  apiKeyState: 'none' | 'unchecked' | 'valid' | 'rejected';
  /** Permissions that the key lacked when it was last checked, by RevenueCat's names. */
  missingScopes: readonly string[];
  /** Empty: disconnected. No secret has an empty hash, so every webhook is refused. */
  webhookAuthHash: string;
  /** Encrypted; `null`: none. */
  signingSecret: string | null;
  webhookId: string | null;
  lastReceivedAt: Date | null;
  lastRefusedAt: Date | null;
  refusedFor: 'authorization' | 'signature' | null;
  disconnectedAt: Date | null;
  /** What undoing the disconnection restores. */
  disconnectedAuthHash: string | null;
  createdAt: Date;
}

export const ProjectEntity = entity<ProjectRow>('projects', {
  workspaceId: key('text'),
  projectId: key('text'),
  revenueCatProjectId: column('text'),
  name: column('text'),
  apiKey: optional('text'),
  apiKeyState: column('text'),
  missingScopes: column('jsonb'),
  webhookAuthHash: column('text'),
  signingSecret: optional('text'),
  webhookId: optional('text'),
  lastReceivedAt: optional('timestamptz'),
  lastRefusedAt: optional('timestamptz'),
  refusedFor: optional('text'),
  disconnectedAt: optional('timestamptz'),
  disconnectedAuthHash: optional('text'),
  createdAt: column('timestamptz'),
});

/** The OAuth `state` that a browser was sent away with. */
export interface OAuthStateRow {
  stateHash: string;
  purpose: string;
  expiresAt: Date;
}

export const OAuthStateEntity = entity<OAuthStateRow>('oauth_states', {
  stateHash: key('text'),
  purpose: column('text'),
  expiresAt: column('timestamptz'),
});

export const SessionEntity = entity<SessionRow>('sessions', {
  workspaceId: key('text'),
  sessionHash: key('text'),
  admin: column('jsonb'),
  csrf: column('text'),
  userAgent: column('text'),
  createdAt: column('timestamptz'),
  lastSeenAt: column('timestamptz'),
  expiresAt: column('timestamptz'),
});

export interface ApiKeyRow {
  workspaceId: string;
  keyHash: string;
  keyId: string;
  kind: 'messenger' | 'fin';
  name: string;
  prefix: string;
  createdBy: Actor;
  createdAt: Date;
  lastUsedAt: Date | null;
  revokedAt: Date | null;
}

export const ApiKeyEntity = entity<ApiKeyRow>('api_keys', {
  workspaceId: key('text'),
  keyHash: key('text'),
  keyId: column('uuid'),
  kind: column('text'),
  name: column('text'),
  prefix: column('text'),
  createdBy: column('jsonb'),
  createdAt: column('timestamptz'),
  lastUsedAt: optional('timestamptz'),
  revokedAt: optional('timestamptz'),
});

export interface CatalogRow {
  workspaceId: string;
  projectId: string;
  kind: 'entitlement' | 'product';
  /** RevenueCat's id. */
  id: string;
  /** An entitlement's lookup key, a product's store identifier. */
  lookupKey: string;
  displayName: string | null;
  fetchedAt: Date;
}

export const CatalogEntity = entity<CatalogRow>('catalog', {
  workspaceId: key('text'),
  projectId: key('text'),
  kind: key('text'),
  id: key('text'),
  lookupKey: column('text'),
  displayName: optional('text'),
  fetchedAt: column('timestamptz'),
});

export interface AuditRow {
  workspaceId: string;
  auditId: number;
  at: Date;
  /** Intercom does not always send a teammate's e-mail. */
  actor: Actor & { readonly email: string | null };
  action: string;
  conversationId: string | null;
  contactId: string | null;
  subscriberId: string | null;
  details: Readonly<Record<string, unknown>>;
  result: string;
}

export const AuditEntity = entity<AuditRow>('audit_log', {
  workspaceId: key('text'),
  auditId: bigint({ primary: true }),
  at: column('timestamptz'),
  actor: column('jsonb'),
  action: column('text'),
  conversationId: optional('text'),
  contactId: optional('text'),
  subscriberId: optional('uuid'),
  details: column('jsonb'),
  result: column('text'),
});

export const ENTITIES = [
  WebhookEntity,
  ContactLinkEntity,
  WorkspaceEntity,
  ProjectEntity,
  OAuthStateEntity,
  SessionEntity,
  ApiKeyEntity,
  CatalogEntity,
  AuditEntity,
];
