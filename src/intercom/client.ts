import { z } from 'zod';
import { AppError } from '../errors.ts';
import { type Answer, callOut, type OutgoingCall } from '../http/outgoing.ts';
import { intercomFailure, intercomUnreachable, windowEnd } from './failures.ts';

/** The version whose 410 for merged contacts and attribute rules the app is written for. */
export const INTERCOM_VERSION = '2.16';

const REGION_HOSTS = {
  US: 'https://api.intercom.io',
  EU: 'https://api.eu.intercom.io',
  AU: 'https://api.au.intercom.io',
} as const;

/** The REST origin of a workspace's region; `override` is for simulators and proxies. */
export function intercomApiUrl(override: string | null, region: keyof typeof REGION_HOSTS): string {
  return override ?? REGION_HOSTS[region];
}

/** What the headers of an authenticated answer say about the current ten-second window. */
export interface RateReading {
  readonly limit: number;
  readonly remaining: number;
  readonly resetAtMs: number;
}

/** Paces the calls of one workspace. */
export interface CallGate {
  /** Resolves when a call may be made; each is followed by `release`. */
  acquire(): Promise<void>;
  /** @param answered whether Intercom answered at all */
  release(answered: boolean): void;
  observe(reading: RateReading): void;
}

// Numbers as ids have been seen in webhooks and older captures.
const idSchema = z.union([z.string(), z.number()]).transform(String);

const conversationSchema = z.object({
  conversation_parts: z
    .object({
      conversation_parts: z.array(z.object({ part_type: z.string().nullish(), body: z.string().nullish() })),
    })
    .nullish(),
});

const contactSchema = z.object({
  id: idSchema,
  external_id: z
    .string()
    .nullish()
    .transform((value) => value ?? null),
  role: z
    .string()
    .nullish()
    .transform((value) => value ?? null),
  email: z
    .string()
    .nullish()
    .transform((value) => value ?? null),
  archived: z.boolean().nullish(),
  custom_attributes: z
    .record(z.string(), z.unknown())
    .nullish()
    .transform((value) => value ?? {}),
});

export type IntercomContact = z.infer<typeof contactSchema>;

const meSchema = z.object({
  id: idSchema,
  name: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  email: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  email_verified: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
  app: z.object({
    id_code: z.string().min(1),
    name: z
      .string()
      .nullish()
      .transform((value) => value ?? ''),
    /** Whether the workspace enforces identity verification in its Messenger; `null`: not said. */
    identity_verification: z
      .boolean()
      .nullish()
      .catch(null)
      .transform((value) => value ?? null),
    timezone: z
      .string()
      .nullish()
      .transform((value) => value ?? 'UTC'),
    region: z
      .string()
      .nullish()
      .transform((value) => value ?? 'US'),
  }),
});

export type IntercomMe = z.infer<typeof meSchema>;

const dataAttributeSchema = z.object({
  id: z.union([z.string(), z.number()]).nullish(),
  name: z.string(),
  data_type: z.string(),
  custom: z.boolean().nullish(),
  api_writable: z.boolean().nullish(),
  messenger_writable: z.boolean().nullish(),
  archived: z.boolean().nullish(),
  /** Only on lists, whose `data_type` is given as `string`. */
  options: z.array(z.unknown()).nullish(),
});

export type IntercomDataAttribute = z.infer<typeof dataAttributeSchema>;

const adminSchema = z.object({
  id: idSchema,
  name: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  email: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
});

export type IntercomAdmin = z.infer<typeof adminSchema>;

export interface DataEvent {
  readonly eventName: string;
  /** Unix seconds; part of Intercom's key for removing duplicates. */
  readonly createdAtS: number;
  /** Intercom's id of the contact. */
  readonly contactId: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface IntercomClient {
  me(): Promise<IntercomMe>;
  /** Ends the installation from our side. */
  uninstall(): Promise<void>;
  getContact(contactId: string): Promise<IntercomContact>;
  /** The contact, or the one that it was merged into; `null`: it is gone. */
  followContact(contactId: string): Promise<IntercomContact | null>;
  /** Users only, not affected by the search index's delay; `null`: unknown. */
  findByExternalId(externalId: string): Promise<IntercomContact | null>;
  /** At most 50; several contacts can share an e-mail. */
  searchByEmail(email: string): Promise<IntercomContact[]>;
  createContact(body: Readonly<Record<string, unknown>>): Promise<IntercomContact>;
  updateContact(contactId: string, body: Readonly<Record<string, unknown>>): Promise<IntercomContact>;
  unarchiveContact(contactId: string): Promise<void>;
  sendEvent(event: DataEvent): Promise<void>;
  listDataAttributes(): Promise<IntercomDataAttribute[]>;
  createDataAttribute(attribute: { name: string; dataType: string; description: string }): Promise<void>;
  updateDataAttribute(
    id: string | number,
    changes: { readonly archived?: false; readonly messenger_writable?: false },
  ): Promise<void>;
  leaveNote(note: { conversationId: string; adminId: string; html: string }): Promise<void>;
  /** Bodies of the notes in a conversation, HTML; of its last 500 parts. */
  listNotes(conversationId: string): Promise<string[]>;
  listAdmins(): Promise<IntercomAdmin[]>;
  pushHealth(health: Readonly<Record<string, unknown>>): Promise<void>;
}

/** Intercom resolves merges itself; a longer chain of them is a loop. */
const MAX_HOPS = 3;

interface Call {
  readonly apiUrl: string;
  readonly accessToken?: string;
  readonly method: OutgoingCall['method'];
  readonly path: string;
  readonly body?: unknown;
  /** For messages: "Sending an event". Never a customer's data. */
  readonly action: string;
  readonly timeoutMs: number;
  readonly now: () => number;
  readonly gate?: CallGate | undefined;
}

async function call(input: Call): Promise<unknown> {
  const { gate } = input;
  if (!gate) return accept(input, await request(input));
  await gate.acquire();
  let answer: Answer | null = null;
  try {
    answer = await request(input);
    observeRate(gate, answer, input.now());
  } finally {
    gate.release(answer !== null);
  }
  return accept(input, answer);
}

function observeRate(gate: CallGate, answer: Answer, nowMs: number): void {
  const remaining = answer.headers['x-ratelimit-remaining'];
  if (remaining === undefined) return;
  gate.observe({
    limit: Number(answer.headers['x-ratelimit-limit']),
    remaining: Number(remaining),
    resetAtMs: windowEnd(Number(answer.headers['x-ratelimit-reset']) * 1_000, nowMs),
  });
}

async function request(input: Call): Promise<Answer> {
  try {
    return await callOut({
      method: input.method,
      url: `${input.apiUrl}${input.path}`,
      body: input.body,
      headers: {
        'intercom-version': INTERCOM_VERSION,
        ...(input.accessToken === undefined ? {} : { authorization: `Bearer ${input.accessToken}` }),
      },
      timeoutMs: input.timeoutMs,
    });
  } catch (error) {
    throw intercomUnreachable(input.action, error);
  }
}

function accept(input: Call, answer: Answer): unknown {
  if (answer.status >= 200 && answer.status < 300 && !isPage(answer)) return answer.data;
  throw intercomFailure(
    { status: answer.status, headers: answer.headers, body: answer.data },
    input.action,
    input.now(),
  );
}

/** What stands before Intercom, a proxy or a page of maintenance, answers for it: nothing has been done. */
function isPage(answer: Answer): boolean {
  return (
    typeof answer.data === 'string' && /^text\/html\b/i.test(String(answer.headers['content-type'] ?? ''))
  );
}

function read<T>(schema: z.ZodType<T>, value: unknown, action: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new AppError('intercom_unavailable', `${action}: Intercom's answer has an unexpected shape`, {
    status: 502,
    remedy: { kind: 'retry' },
  });
}

/**
 * Exchanges the code of the OAuth callback for a token. The code may end in `=` and is sent as it came.
 *
 * Source: Intercom, "Setting up OAuth". The exchange is only documented for the US host, which is assumed to
 * serve every region (UNVERIFIED).
 */
export async function exchangeCode(input: {
  apiUrl: string;
  clientId: string;
  clientSecret: string;
  code: string;
  now: () => number;
}): Promise<string> {
  const action = 'Exchanging the OAuth code';
  const data = await call({
    apiUrl: input.apiUrl,
    method: 'POST',
    path: '/auth/eagle/token',
    body: { code: input.code, client_id: input.clientId, client_secret: input.clientSecret },
    action,
    timeoutMs: 10_000,
    now: input.now,
  });
  const schema = z.object({ access_token: z.string().optional(), token: z.string().optional() });
  const answer = read(schema, data, action);
  const token = answer.access_token ?? answer.token;
  if (!token) throw new AppError('intercom_rejected', `${action}: Intercom gave no token`, { status: 502 });
  return token;
}

/** Talks to Intercom's REST API for one workspace. Every method throws {@link AppError} with an `intercom_…` code. */
export function createIntercomClient(options: {
  apiUrl: string;
  accessToken: string;
  now?: () => number;
  timeoutMs?: number;
  gate?: CallGate;
}): IntercomClient {
  const send = (
    method: OutgoingCall['method'],
    path: string,
    action: string,
    body?: unknown,
  ): Promise<unknown> =>
    call({
      apiUrl: options.apiUrl,
      accessToken: options.accessToken,
      method,
      path,
      body,
      action,
      timeoutMs: options.timeoutMs ?? 10_000,
      now: options.now ?? Date.now,
      gate: options.gate,
    });
  const id = encodeURIComponent;

  return {
    async me() {
      return read(meSchema, await send('GET', '/me', 'Reading the workspace'), 'Reading the workspace');
    },
    async uninstall() {
      await send('POST', '/auth/uninstall', 'Uninstalling');
    },
    async getContact(contactId) {
      const action = 'Reading a contact';
      return read(contactSchema, await send('GET', `/contacts/${id(contactId)}`, action), action);
    },
    async findByExternalId(externalId) {
      const action = 'Finding a contact';
      try {
        const path = `/contacts/find_by_external_id/${id(externalId)}`;
        return read(contactSchema, await send('GET', path, action), action);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        if (error.remedy.kind === 'wait_for_contact') return null;
        if (error.remedy.kind === 'follow_contact') return this.followContact(error.remedy.contactId);
        throw error;
      }
    },
    async followContact(contactId) {
      let at = contactId;
      for (let hop = 0; hop < MAX_HOPS; hop += 1) {
        try {
          return await this.getContact(at);
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          if (error.remedy.kind === 'wait_for_contact') return null;
          if (error.remedy.kind !== 'follow_contact') throw error;
          at = error.remedy.contactId;
        }
      }
      return null;
    },
    async searchByEmail(email) {
      const action = 'Searching contacts';
      const query = { operator: 'AND', value: [{ field: 'email', operator: '=', value: email }] };
      const data = await send('POST', '/contacts/search', action, { query, pagination: { per_page: 50 } });
      return read(z.object({ data: z.array(contactSchema) }), data, action).data;
    },
    async createContact(body) {
      const action = 'Creating a contact';
      return read(contactSchema, await send('POST', '/contacts', action, body), action);
    },
    async updateContact(contactId, body) {
      const action = 'Updating a contact';
      return read(contactSchema, await send('PUT', `/contacts/${id(contactId)}`, action, body), action);
    },
    async unarchiveContact(contactId) {
      await send('POST', `/contacts/${id(contactId)}/unarchive`, 'Unarchiving a contact');
    },
    async sendEvent(event) {
      await send('POST', '/events', 'Sending an event', {
        event_name: event.eventName,
        created_at: event.createdAtS,
        id: event.contactId,
        metadata: event.metadata,
      });
    },
    async listDataAttributes() {
      const action = 'Listing attributes';
      const data = await send('GET', '/data_attributes?model=contact&include_archived=true', action);
      return read(z.object({ data: z.array(dataAttributeSchema) }), data, action).data;
    },
    async createDataAttribute(attribute) {
      await send('POST', '/data_attributes', `Creating the attribute ${attribute.name}`, {
        name: attribute.name,
        model: 'contact',
        data_type: attribute.dataType,
        description: attribute.description,
        messenger_writable: false,
      });
    },
    async updateDataAttribute(attributeId, changes) {
      const path = `/data_attributes/${id(String(attributeId))}`;
      await send('PUT', path, 'Changing an attribute', changes);
    },
    async leaveNote(note) {
      await send('POST', `/conversations/${id(note.conversationId)}/reply`, 'Leaving a note', {
        message_type: 'note',
        type: 'admin',
        admin_id: note.adminId,
        body: note.html,
      });
    },
    async listNotes(conversationId) {
      const action = 'Reading a conversation';
      const data = await send('GET', `/conversations/${id(conversationId)}`, action);
      const parts = read(conversationSchema, data, action).conversation_parts?.conversation_parts ?? [];
      return parts.flatMap((part) => (part.part_type === 'note' && part.body ? [part.body] : []));
    },
    async listAdmins() {
      const action = 'Listing teammates';
      return read(z.object({ admins: z.array(adminSchema) }), await send('GET', '/admins', action), action)
        .admins;
    },
    async pushHealth(health) {
      await send('POST', '/app_install/status', 'Reporting health', health);
    },
  };
}
