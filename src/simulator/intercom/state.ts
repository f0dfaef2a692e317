import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The app's permissions as machine names. Only some are published; the others are INFERRED from their form. */
export type IntercomScope =
  | 'read_users'
  | 'write_users'
  | 'write_events'
  | 'gather_app_data'
  | 'write_data_attributes'
  | 'read_conversations'
  | 'write_conversations'
  | 'read_admins';

/** The scopes that Canvas Kit forces on an app, and those for recording events and leaving notes. */
export const DEFAULT_SCOPES: readonly IntercomScope[] = [
  'read_users',
  'read_conversations',
  'read_admins',
  'gather_app_data',
  'write_users',
  'write_events',
  'write_data_attributes',
  'write_conversations',
];

export interface Workspace {
  /** `id_code`, `app_id` and Canvas Kit's `workspace_id`. */
  readonly id: string;
  name: string;
  readonly region: 'US' | 'EU' | 'AU';
  timezone: string;
  readonly createdAtS: number;
  installed: boolean;
  /** Whether the Messenger accepts only users with a signed identity token. */
  identityVerification: boolean;
  /** The status with which every scoped call is refused because of the plan; `null`: the plan has the API. */
  planRefusal: 402 | 403 | null;
  /** As the app last reported it by `POST /app_install/status`. */
  health: Record<string, unknown> | null;
}

export interface Admin {
  readonly id: string;
  readonly workspaceId: string;
  name: string;
  /** `null` for some teammates; a bot has `operator+…`. */
  email: string | null;
  emailVerified: boolean;
  /** Fin or another bot: listed among the admins like a teammate. */
  readonly isBot: boolean;
  /** BCP 47, sent in Canvas Kit requests. The field is not documented: it is here to try how an app handles it. */
  readonly locale?: string;
}

export interface Contact {
  readonly id: string;
  readonly workspaceId: string;
  role: 'user' | 'lead';
  externalId: string | null;
  email: string | null;
  name: string | null;
  signedUpAtS: number | null;
  readonly createdAtMs: number;
  updatedAtMs: number;
  customAttributes: Record<string, unknown>;
  archived: boolean;
  deleted: boolean;
  mergedInto: string | null;
  mergeHistory: { sourceId: string; sourceRole: 'user' | 'lead'; atS: number }[];
}

export type AttributeType = 'string' | 'integer' | 'float' | 'boolean' | 'datetime' | 'date' | 'options';

export interface DataAttribute {
  readonly id: number;
  readonly workspaceId: string;
  readonly name: string;
  readonly model: 'contact' | 'company';
  readonly dataType: AttributeType;
  description: string | null;
  messengerWritable: boolean;
  options: string[];
  archived: boolean;
  readonly createdAtS: number;
  updatedAtS: number;
}

export interface RecordedEvent {
  readonly workspaceId: string;
  readonly contactId: string;
  readonly externalId: string | null;
  readonly name: string;
  readonly createdAtS: number;
  readonly metadata: Record<string, unknown>;
  readonly receivedAtMs: number;
}

export interface ConversationPart {
  readonly id: string;
  readonly partType: 'note' | 'comment';
  readonly authorType: 'admin' | 'user';
  readonly authorId: string;
  readonly body: string;
  readonly createdAtS: number;
}

export interface Conversation {
  readonly id: string;
  readonly workspaceId: string;
  readonly contactIds: string[];
  readonly body: string;
  readonly createdAtS: number;
  updatedAtS: number;
  readonly parts: ConversationPart[];
}

export interface Token {
  readonly token: string;
  readonly workspaceId: string;
  readonly adminId: string;
  readonly scopes: ReadonlySet<IntercomScope>;
  status: 'valid' | 'revoked' | 'expired';
}

export type IntercomState = ReturnType<typeof createState>;

/** Intercom's responses have times in whole seconds. */
export const seconds = (ms: number): number => Math.floor(ms / 1_000);

/** The contents of the Developer Hub: the app is simulated as it would be registered. */
const manifest = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../app-manifest.json'), 'utf8'),
) as { readonly webhooks: { readonly topics: readonly string[] } };

/** Contact IDs have 24 hex digits. */
const newContactId = (): string => randomBytes(12).toString('hex');

export const indexKey = (workspaceId: string, externalId: string): string => `${workspaceId}\n${externalId}`;

export function createState() {
  return {
    workspaces: new Map<string, Workspace>(),
    admins: new Map<string, Admin>(),
    contacts: new Map<string, Contact>(),
    /** By `indexKey(workspace, external id)`. Includes archived contacts, but no merged or deleted ones. */
    externalIds: new Map<string, Contact>(),
    attributes: [] as DataAttribute[],
    events: [] as RecordedEvent[],
    eventKeys: new Set<string>(),
    /** Active event names by workspace, in lower case. */
    eventNames: new Map<string, Set<string>>(),
    /** Number of events that got 202 but were already stored. */
    duplicateEvents: 0,
    conversations: new Map<string, Conversation>(),
    tokens: new Map<string, Token>(),
    codes: new Map<string, { workspaceId: string; adminId: string; expiresAtMs: number }>(),
    /** How long new contacts are missing from searches. */
    searchLagMs: 0,
    /** From here on: the app's settings in the Developer Hub. The first redirect URI is the default one. */
    redirectUris: [] as string[],
    appScopes: DEFAULT_SCOPES,
    /** The direct installation URL, behind *Install* in the App Store; `null`: not set. */
    installUrl: null as string | null,
    webhookEndpoint: null as string | null,
    /** The topics of `app-manifest.json`; others are not sent. */
    webhookTopics: new Set(manifest.webhooks.topics),
    /** Number of webhooks that were sent, and answered or given up. */
    webhookDeliveries: 0,
    uninstallUrl: null as string | null,
  };
}

export function addPart(conversation: Conversation, part: Omit<ConversationPart, 'id'>): void {
  const id = String(Number(conversation.id) * 1_000 + conversation.parts.length + 1);
  conversation.parts.push({ ...part, id });
}

export function insertContact(
  state: IntercomState,
  nowMs: number,
  workspaceId: string,
  fields: Partial<Omit<Contact, 'workspaceId' | 'createdAtMs'>>,
): Contact {
  const contact: Contact = {
    id: newContactId(),
    role: 'user',
    // Leads have a generated external id, which no app can look up.
    externalId: fields.role === 'lead' ? randomUUID() : null,
    email: null,
    name: null,
    signedUpAtS: null,
    updatedAtMs: nowMs,
    customAttributes: {},
    archived: false,
    deleted: false,
    mergedInto: null,
    mergeHistory: [],
    ...fields,
    workspaceId,
    createdAtMs: nowMs,
  };
  state.contacts.set(contact.id, contact);
  if (contact.externalId !== null) state.externalIds.set(indexKey(workspaceId, contact.externalId), contact);
  return contact;
}
