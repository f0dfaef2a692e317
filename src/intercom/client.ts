import type { Axios, AxiosRequestConfig, AxiosResponse } from 'axios';
import { z } from 'zod';
import { AppError, answerOrError } from '../errors.ts';
import { createHttpClient, isAccepted, noResponseError, parseResponse, wellFormed } from '../http/client.ts';
import { intercomFailure } from './failures.ts';
import { idField, optional, optionalId } from './fields.ts';
import { type RateLimit, readRateLimit } from './rate-limit.ts';

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

export interface IntercomGate {
  /** Resolves when a call may be made; each is followed by `release`. */
  acquire(): Promise<void>;
  /** @param answered whether Intercom responded */
  release(answered: boolean): void;
  observe(rateLimit: RateLimit): void;
}

const textOr = (fallback: string) =>
  z
    .string()
    .nullish()
    .transform((value) => value ?? fallback);
const conversationSchema = z.object({
  conversation_parts: z
    .object({
      conversation_parts: z.array(z.object({ part_type: z.string().nullish(), body: z.string().nullish() })),
    })
    .nullish(),
});

const contactSchema = z.object({
  id: idField,
  external_id: optionalId,
  archived: z.boolean().nullish(),
});

export type IntercomContact = z.infer<typeof contactSchema>;

const meSchema = z.object({
  id: idField,
  name: textOr(''),
  email: textOr(''),
  email_verified: z.boolean().nullish().transform(Boolean),
  app: z.object({
    id_code: z.string().min(1),
    name: textOr(''),
    timezone: textOr('UTC'),
    region: z
      .string()
      .toUpperCase()
      .pipe(z.enum(['US', 'EU', 'AU']))
      .catch('US'),
    /** Whether the workspace enforces identity verification in its Messenger; `null`: not said. */
    identity_verification: optional(z.boolean()),
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
  /** Only for attributes with a list of options, whose `data_type` Intercom gives as `string`. */
  options: z.array(z.unknown()).nullish(),
});

export type IntercomDataAttribute = z.infer<typeof dataAttributeSchema>;

const adminSchema = z.object({ type: textOr('admin'), id: idField, name: textOr(''), email: textOr('') });

export type IntercomAdmin = z.infer<typeof adminSchema>;

interface DataEvent {
  readonly event_name: string;
  /** Unix seconds; part of Intercom's key for removing duplicates. */
  readonly created_at: number;
  /** Intercom's id of the contact. */
  readonly id: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** Intercom resolves merges itself; a longer chain of them is a loop. */
const MAX_HOPS = 3;

export interface IntercomClientOptions {
  readonly apiUrl: string;
  readonly accessToken: string | null;
  readonly now?: () => number;
  readonly timeoutMs?: number;
  readonly gate?: IntercomGate;
}

function createIntercomHttp(options: IntercomClientOptions): Axios {
  const { apiUrl, accessToken, now = Date.now, timeoutMs, gate } = options;
  const http = createHttpClient({
    baseURL: apiUrl,
    timeout: timeoutMs,
    headers: {
      'intercom-version': INTERCOM_VERSION,
      ...(accessToken === null ? {} : { authorization: `Bearer ${accessToken}` }),
    },
  });
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
      throw noResponseError('Intercom', error);
    },
  );
  return http;
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
  const answer = await http.post('/auth/eagle/token', body, { action });
  const schema = z.object({ access_token: z.string().optional(), token: z.string().optional() });
  const { token, access_token: accessToken = token } = parseResponse('Intercom', schema, answer);
  if (accessToken) return accessToken;
  throw new AppError('intercom_rejected', `${action}: Intercom sent no token`);
}

export type IntercomClient = ReturnType<typeof createIntercomClient>;

/** Calls Intercom's REST API for one workspace. Every method throws {@link AppError} with an `intercom_…` code. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one short method for each endpoint
export function createIntercomClient(options: IntercomClientOptions) {
  const http = createIntercomHttp(options);
  const { gate } = options;
  const encode = encodeURIComponent;

  async function request(config: AxiosRequestConfig & { action: string }): Promise<AxiosResponse> {
    if (!gate) return http.request(config);
    await gate.acquire();
    let answered = true;
    try {
      return await http.request(config);
    } catch (error) {
      answered = error instanceof AppError && error.upstreamStatus !== null;
      throw error;
    } finally {
      gate.release(answered);
    }
  }
  const post = async (url: string, action: string, data?: object): Promise<void> => {
    await request({ method: 'POST', url, action, data });
  };
  const read = async <T>(schema: z.ZodType<T>, call: Parameters<typeof request>[0]): Promise<T> =>
    parseResponse('Intercom', schema, await request(call));

  async function getContact(contactId: string): Promise<IntercomContact> {
    return read(contactSchema, { url: `/contacts/${encode(contactId)}`, action: 'Reading a contact' });
  }

  /** The contact, or the one that it was merged into; `null`: it is unknown or was deleted. */
  async function followMerges(reading: Promise<IntercomContact>): Promise<IntercomContact | null> {
    let found = await answerOrError(reading);
    for (let hop = 0; found instanceof AppError; hop += 1) {
      if (found.remedy.kind === 'wait_for_contact') return null;
      if (found.remedy.kind !== 'follow_contact') throw found;
      if (hop === MAX_HOPS) return null;
      found = await answerOrError(getContact(found.remedy.contactId));
    }
    return found;
  }

  return {
    me: (): Promise<IntercomMe> => read(meSchema, { url: '/me', action: 'Reading the workspace' }),
    uninstall: () => post('/auth/uninstall', 'Uninstalling'),
    followContact: (contactId: string) => followMerges(getContact(contactId)),
    /** Users only, not affected by the search index's delay. */
    findByExternalId(externalId: string): Promise<IntercomContact | null> {
      const url = `/contacts/find_by_external_id/${encode(externalId)}`;
      return followMerges(read(contactSchema, { url, action: 'Finding a contact' }));
    },
    /** At most 50; several contacts can share an e-mail. */
    async searchByEmail(email: string): Promise<IntercomContact[]> {
      const query = { operator: 'AND', value: [{ field: 'email', operator: '=', value: email }] };
      const found = await read(z.object({ data: z.array(contactSchema) }), {
        method: 'POST',
        url: '/contacts/search',
        action: 'Searching contacts',
        data: { query, pagination: { per_page: 50 } },
      });
      return found.data;
    },
    /** The contacts that were merged into this one, newest first. Source: API 2.16, which answers 404 for a lead. */
    async listMerged(contactId: string): Promise<string[]> {
      const url = `/contacts/${encode(contactId)}/merge_history?per_page=10`;
      const schema = z.object({ data: z.array(z.object({ source_contact_id: idField })) });
      const found = await answerOrError(read(schema, { url, action: 'Reading the merges of a contact' }));
      if (!(found instanceof AppError)) return found.data.map((merge) => merge.source_contact_id);
      if (found.remedy.kind === 'wait_for_contact') return [];
      throw found;
    },
    createContact(data: Readonly<Record<string, unknown>>): Promise<IntercomContact> {
      return read(contactSchema, { method: 'POST', url: '/contacts', action: 'Creating a contact', data });
    },
    updateContact(contactId: string, data: Readonly<Record<string, unknown>>): Promise<IntercomContact> {
      const url = `/contacts/${encode(contactId)}`;
      return read(contactSchema, { method: 'PUT', url, action: 'Updating a contact', data });
    },
    unarchiveContact: (contactId: string) =>
      post(`/contacts/${encode(contactId)}/unarchive`, 'Unarchiving a contact'),
    sendEvent: (event: DataEvent) => post('/events', 'Sending an event', event),
    async listDataAttributes(): Promise<IntercomDataAttribute[]> {
      const url = '/data_attributes?model=contact&include_archived=true';
      const schema = z.object({ data: z.array(z.unknown()) });
      const { data } = await read(schema, { url, action: 'Listing attributes' });
      return wellFormed(dataAttributeSchema, data);
    },
    createDataAttribute: (attribute: { name: string; dataType: string; description: string }) =>
      post('/data_attributes', `Creating the attribute ${attribute.name}`, {
        name: attribute.name,
        model: 'contact',
        data_type: attribute.dataType,
        description: attribute.description,
        messenger_writable: false,
      }),
    async updateDataAttribute(
      attributeId: string | number,
      data: { readonly archived?: false; readonly messenger_writable?: false },
    ): Promise<void> {
      const url = `/data_attributes/${encode(String(attributeId))}`;
      await request({ method: 'PUT', url, action: 'Changing an attribute', data });
    },
    /** Notifies no teammate. */
    leaveNote: (note: { conversationId: string; adminId: string; html: string }) =>
      post(`/conversations/${encode(note.conversationId)}/reply`, 'Leaving a note', {
        message_type: 'note',
        type: 'admin',
        admin_id: note.adminId,
        body: note.html,
        // The note documents what the teammate has just done. Whether a note ends a snooze is not documented, and 2.16
        // cannot prevent it (`skip_unsnooze` is Preview only).
        skip_notifications: true,
      }),
    /** Bodies of the notes in a conversation, HTML; of its last 500 parts. */
    async listNotes(conversationId: string): Promise<string[]> {
      const url = `/conversations/${encode(conversationId)}`;
      const conversation = await read(conversationSchema, { url, action: 'Reading a conversation' });
      const parts = conversation.conversation_parts?.conversation_parts ?? [];
      return parts.flatMap((part) => (part.part_type === 'note' && part.body ? [part.body] : []));
    },
    /** Teammates, without bots. API 2.16 describes admins as nullable, and requires none of their fields. */
    async listAdmins(): Promise<IntercomAdmin[]> {
      const schema = z.object({ admins: z.array(z.unknown()) });
      const { admins } = await read(schema, { url: '/admins', action: 'Listing teammates' });
      return wellFormed(adminSchema, admins).filter(
        ({ type, email }) => type === 'admin' && !email.startsWith('operator+'),
      );
    },
    pushHealth: (health: object) => post('/app_install/status', 'Reporting health', health),
  };
}
