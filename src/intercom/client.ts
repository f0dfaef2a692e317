import type { AxiosInstance, AxiosRequestConfig } from 'axios';
import { z } from 'zod';
import { AppError } from '../errors.ts';
import { createHttpClient, isAccepted } from '../http/client.ts';
import { intercomFailure, intercomUnreachable, readRateLimit } from './failures.ts';

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

/** The rate-limit headers of a response, for the current ten-second window. */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  readonly resetAtMs: number;
}

/** Paces the calls of one workspace. */
export interface CallGate {
  /** Resolves when a call may be made; each is followed by `release`. */
  acquire(): Promise<void>;
  /** @param answered whether Intercom responded */
  release(answered: boolean): void;
  observe(rateLimit: RateLimit): void;
}

// Numbers as ids have been seen in webhooks and older captures.
const idSchema = z.union([z.string(), z.number()]).transform(String);
const optionalText = z
  .string()
  .nullish()
  .transform((value) => value ?? null);
const textOr = (fallback: string) =>
  z
    .string()
    .nullish()
    .transform((value) => value ?? fallback);
const optionalFlag = z
  .boolean()
  .nullish()
  .catch(null)
  .transform((value) => value ?? null);

const conversationSchema = z.object({
  conversation_parts: z
    .object({
      conversation_parts: z.array(z.object({ part_type: z.string().nullish(), body: z.string().nullish() })),
    })
    .nullish(),
});

const contactSchema = z.object({
  id: idSchema,
  external_id: optionalText,
  role: optionalText,
  email: optionalText,
  archived: z.boolean().nullish(),
  custom_attributes: z
    .record(z.string(), z.unknown())
    .nullish()
    .transform((value) => value ?? {}),
});

export type IntercomContact = z.infer<typeof contactSchema>;

const meSchema = z.object({
  id: idSchema,
  name: textOr(''),
  email: textOr(''),
  email_verified: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
  app: z.object({
    id_code: z.string().min(1),
    name: textOr(''),
    timezone: textOr('UTC'),
    region: textOr('US'),
    /** Whether the workspace enforces identity verification in its Messenger; `null`: not said. */
    identity_verification: optionalFlag,
    /** An older flag beside it, `true` in the one recorded response. */
    secure: optionalFlag,
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

const adminSchema = z.object({ type: textOr('admin'), id: idSchema, name: textOr(''), email: textOr('') });

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
  /** The contact, or the one that it was merged into; `null`: it was deleted. */
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
  /** Notifies no teammate. */
  leaveNote(note: { conversationId: string; adminId: string; html: string }): Promise<void>;
  /** Bodies of the notes in a conversation, HTML; of its last 500 parts. */
  listNotes(conversationId: string): Promise<string[]>;
  /** Teammates, without bots. */
  listAdmins(): Promise<IntercomAdmin[]>;
  pushHealth(health: Readonly<Record<string, unknown>>): Promise<void>;
}

/** Intercom resolves merges itself; a longer chain of them is a loop. */
const MAX_HOPS = 3;

export interface IntercomClientOptions {
  readonly apiUrl: string;
  readonly accessToken: string | null;
  readonly now?: () => number;
  readonly timeoutMs?: number | undefined;
  readonly gate?: CallGate | undefined;
}

/** Interceptors: authentication, version header, rate limit, typed errors. */
function createIntercomHttp(options: IntercomClientOptions): AxiosInstance {
  const { apiUrl, accessToken, now = Date.now, timeoutMs = 10_000, gate } = options;
  const http = createHttpClient({ baseURL: apiUrl, timeout: timeoutMs });
  http.interceptors.request.use(
    (config) => {
      config.headers.set('Intercom-Version', INTERCOM_VERSION);
      if (accessToken !== null) config.headers.set('Authorization', `Bearer ${accessToken}`);
      return config;
    },
    null,
    { synchronous: true },
  );
  http.interceptors.response.use(
    (response) => {
      const rateLimit = gate && readRateLimit(response.headers, now());
      if (rateLimit) gate.observe(rateLimit);
      if (isAccepted(response)) return response;
      throw intercomFailure(
        { status: response.status, headers: response.headers, body: response.data },
        response.config.action ?? '',
        now(),
      );
    },
    (error) => {
      throw intercomUnreachable(error.config?.action ?? '', error);
    },
  );
  return http;
}

function parse<T>(schema: z.ZodType<T>, value: unknown, action: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new AppError('intercom_unavailable', `${action}: Intercom's response has an unexpected shape`, {
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
  const http = createIntercomHttp({ apiUrl: input.apiUrl, accessToken: null, now: input.now });
  const body = { code: input.code, client_id: input.clientId, client_secret: input.clientSecret };
  const { data } = await http.post('/auth/eagle/token', body, { action });
  const schema = z.object({ access_token: z.string().optional(), token: z.string().optional() });
  const response = parse(schema, data, action);
  const token = response.access_token ?? response.token;
  if (!token) throw new AppError('intercom_rejected', `${action}: Intercom sent no token`, { status: 502 });
  return token;
}

/** Calls Intercom's REST API for one workspace. Every method throws {@link AppError} with an `intercom_…` code. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one short method for each endpoint
export function createIntercomClient(options: IntercomClientOptions): IntercomClient {
  const http = createIntercomHttp(options);
  const { gate } = options;
  const id = encodeURIComponent;

  async function request(config: AxiosRequestConfig): Promise<unknown> {
    if (!gate) return (await http.request(config)).data;
    await gate.acquire();
    let answered = true;
    try {
      return (await http.request(config)).data;
    } catch (error) {
      answered = error instanceof AppError && error.upstreamStatus !== null;
      throw error;
    } finally {
      gate.release(answered);
    }
  }
  const get = (url: string, action: string): Promise<unknown> => request({ url, action });
  const post = (url: string, action: string, data?: unknown): Promise<unknown> =>
    request({ method: 'POST', url, action, data });
  const put = (url: string, action: string, data: unknown): Promise<unknown> =>
    request({ method: 'PUT', url, action, data });

  return {
    async me() {
      return parse(meSchema, await get('/me', 'Reading the workspace'), 'Reading the workspace');
    },
    async uninstall() {
      await post('/auth/uninstall', 'Uninstalling');
    },
    async getContact(contactId) {
      const action = 'Reading a contact';
      return parse(contactSchema, await get(`/contacts/${id(contactId)}`, action), action);
    },
    async findByExternalId(externalId) {
      const action = 'Finding a contact';
      try {
        const path = `/contacts/find_by_external_id/${id(externalId)}`;
        return parse(contactSchema, await get(path, action), action);
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
      const data = await post('/contacts/search', action, { query, pagination: { per_page: 50 } });
      return parse(z.object({ data: z.array(contactSchema) }), data, action).data;
    },
    async createContact(body) {
      const action = 'Creating a contact';
      return parse(contactSchema, await post('/contacts', action, body), action);
    },
    async updateContact(contactId, body) {
      const action = 'Updating a contact';
      return parse(contactSchema, await put(`/contacts/${id(contactId)}`, action, body), action);
    },
    async unarchiveContact(contactId) {
      await post(`/contacts/${id(contactId)}/unarchive`, 'Unarchiving a contact');
    },
    async sendEvent(event) {
      await post('/events', 'Sending an event', {
        event_name: event.eventName,
        created_at: event.createdAtS,
        id: event.contactId,
        metadata: event.metadata,
      });
    },
    async listDataAttributes() {
      const action = 'Listing attributes';
      const data = await get('/data_attributes?model=contact&include_archived=true', action);
      return parse(z.object({ data: z.array(dataAttributeSchema) }), data, action).data;
    },
    async createDataAttribute(attribute) {
      await post('/data_attributes', `Creating the attribute ${attribute.name}`, {
        name: attribute.name,
        model: 'contact',
        data_type: attribute.dataType,
        description: attribute.description,
        messenger_writable: false,
      });
    },
    async updateDataAttribute(attributeId, changes) {
      const path = `/data_attributes/${id(String(attributeId))}`;
      await put(path, 'Changing an attribute', changes);
    },
    async leaveNote(note) {
      await post(`/conversations/${id(note.conversationId)}/reply`, 'Leaving a note', {
        message_type: 'note',
        type: 'admin',
        admin_id: note.adminId,
        body: note.html,
        // It documents what the teammate has just done. Whether a note ends a snooze is not documented, and 2.16
        // cannot prevent it (`skip_unsnooze` is Preview only).
        skip_notifications: true,
      });
    },
    async listNotes(conversationId) {
      const action = 'Reading a conversation';
      const data = await get(`/conversations/${id(conversationId)}`, action);
      const parts = parse(conversationSchema, data, action).conversation_parts?.conversation_parts ?? [];
      return parts.flatMap((part) => (part.part_type === 'note' && part.body ? [part.body] : []));
    },
    async listAdmins() {
      const action = 'Listing teammates';
      const { admins } = parse(
        z.object({ admins: z.array(adminSchema) }),
        await get('/admins', action),
        action,
      );
      return admins.filter(({ type, email }) => type === 'admin' && !email.startsWith('operator+'));
    },
    async pushHealth(health) {
      await post('/app_install/status', 'Reporting health', health);
    },
  };
}
