import { EntitySchema, type EntitySchemaColumnOptions } from 'typeorm';

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
    { ...options, name: property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) },
  ]);
  return new EntitySchema<Row>({ name: tableName, tableName, columns: Object.fromEntries(named) });
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
  id: string;
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
  actor: Readonly<Record<string, unknown>>;
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
  SessionEntity,
  ApiKeyEntity,
  CatalogEntity,
  AuditEntity,
];
