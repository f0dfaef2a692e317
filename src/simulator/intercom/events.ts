import { randomUUID } from 'node:crypto';
import { Router } from 'express';
import { z } from 'zod';
import { type Context, invalid, notFound, readBody, refusal, requireScope } from './refusals.ts';
import { type Contact, type IntercomState, indexKey, type RecordedEvent, seconds } from './state.ts';

const MAX_METADATA_KEYS = 10;
const MAX_EVENT_NAMES = 120;
const LISTED_FOR_S = 90 * 86_400;

const eventSchema = z.object({
  event_name: z.string().optional(),
  created_at: z.unknown().optional(),
  id: z.string().min(1).optional(),
  user_id: z.string().min(1).optional(),
  email: z.string().min(1).optional(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

const richLinkSchema = z.strictObject({ url: z.url(), value: z.string() });
/** Minor units; zero-decimal currencies are not discussed anywhere (UNVERIFIED). */
const monetarySchema = z.strictObject({
  amount: z.int().positive(),
  currency: z.string().regex(/^[A-Za-z]{3}$/),
});

/** Source: Intercom API 2.16, "Data events", and the help centre on the limit of event names. */
export function eventRoutes(context: Context): Router {
  const { state, now } = context;
  const router = Router();

  router.post('/events', (req, res) => {
    const { workspace } = requireScope(res, 'write_events');
    const body = readBody(eventSchema, req.body);
    if (!body.event_name?.trim()) throw refusal(400, 'parameter_missing', 'event_name is required');
    if (body.created_at === undefined) throw refusal(400, 'parameter_missing', 'created_at is required');
    const createdAtS = body.created_at;
    if (typeof createdAtS !== 'number' || !Number.isSafeInteger(createdAtS) || createdAtS < 0) {
      throw invalid('created_at must be a Unix timestamp in seconds', 'created_at');
    }
    // Milliseconds sent by mistake lie tens of thousands of years ahead.
    if (createdAtS > seconds(now()) + 86_400)
      throw invalid('created_at must not be in the future', 'created_at');
    const identifiers = [body.id, body.user_id, body.email].filter((value) => value !== undefined);
    if (identifiers.length !== 1) throw invalid('Exactly one of id, user_id or email is required');
    const metadata = readMetadata(body.metadata ?? {});

    const contact = findContact(state, workspace.id, body);
    if (!contact) throw notFound('User Not Found');

    const name = body.event_name.trim().replace(/[.$]/g, '-');
    const lowerName = name.toLowerCase();
    const key = [workspace.id, contact.externalId ?? contact.id, lowerName, createdAtS].join('\n');
    if (state.eventKeys.has(key)) {
      state.duplicateEvents += 1;
      return void res.status(202).end();
    }
    const names = state.eventNames.get(workspace.id) ?? new Set();
    if (!names.has(lowerName) && names.size >= MAX_EVENT_NAMES) {
      // Status and code are UNVERIFIED; `custom_data_limit_reached` is the code of the attribute limit.
      throw refusal(422, 'unprocessable_entity', `Limit of ${MAX_EVENT_NAMES} active event names reached`);
    }
    state.eventNames.set(workspace.id, names.add(lowerName));
    state.eventKeys.add(key);
    const event: RecordedEvent = {
      id: randomUUID(),
      workspaceId: workspace.id,
      contactId: contact.id,
      externalId: contact.externalId,
      email: contact.email,
      name,
      createdAtS,
      metadata,
      receivedAtMs: now(),
    };
    state.events.push(event);
    context.emit('event.created', workspace.id, eventView(event));
    res.status(202).end();
  });

  router.get('/events', (req, res) => {
    const { workspace } = requireScope(res, 'read_events');
    const { type, user_id: userId, email, intercom_user_id: intercomUserId, summary, before } = req.query;
    if (type !== 'user') throw invalid("type must be 'user'", 'type');
    const given = { id: intercomUserId, user_id: userId, email };
    const identifier = Object.entries(given).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    );
    if (identifier.length !== 1)
      throw invalid('Exactly one of user_id, email or intercom_user_id is required');
    const contact = findContact(state, workspace.id, Object.fromEntries(identifier));
    if (!contact) throw notFound('User Not Found');
    const perPage = Number(req.query.per_page ?? 50);
    if (!Number.isInteger(perPage) || perPage < 1 || perPage > 150)
      throw invalid('Invalid per_page', 'per_page');
    const oldest = seconds(now()) - LISTED_FOR_S;
    const own = state.events.filter((event) => event.contactId === contact.id);
    if (summary === 'true') {
      const events = Map.groupBy(own, (event) => event.name.toLowerCase());
      return void res.json({
        type: 'event.summary',
        email: contact.email,
        intercom_user_id: contact.id,
        user_id: contact.externalId,
        events: [...events.values()].map((group) => ({
          name: group[0]?.name,
          first: new Date(Math.min(...group.map((event) => event.createdAtS)) * 1_000).toISOString(),
          last: new Date(Math.max(...group.map((event) => event.createdAtS)) * 1_000).toISOString(),
          count: group.length,
        })),
        pages: {},
      });
    }
    const listed = own
      .filter((event) => event.createdAtS > oldest)
      .sort((a, b) => b.createdAtS - a.createdAtS || b.receivedAtMs - a.receivedAtMs);
    const from = typeof before === 'string' ? Number(before) : 0;
    if (!Number.isInteger(from) || from < 0) throw invalid('Invalid before', 'before');
    const next = new URL(`${req.protocol}://${req.get('host')}${req.originalUrl}`);
    next.searchParams.set('before', String(from + perPage));
    res.json({
      type: 'event.list',
      events: listed.slice(from, from + perPage).map(eventView),
      pages: from + perPage < listed.length ? { next: next.href } : {},
    });
  });

  return router;
}

function findContact(
  state: IntercomState,
  workspaceId: string,
  by: { id?: string | undefined; user_id?: string | undefined; email?: string | undefined },
): Contact | undefined {
  const alive = (contact: Contact | undefined): contact is Contact =>
    contact !== undefined &&
    contact.workspaceId === workspaceId &&
    !contact.deleted &&
    !contact.archived &&
    contact.mergedInto === null;
  if (by.id !== undefined) {
    const contact = state.contacts.get(by.id);
    return alive(contact) ? contact : undefined;
  }
  if (by.user_id !== undefined) {
    const contact = state.externalIds.get(indexKey(workspaceId, by.user_id));
    return alive(contact) && contact.role === 'user' ? contact : undefined;
  }
  const email = by.email?.toLowerCase();
  const matches = [...state.contacts.values()].filter(
    (contact) => alive(contact) && contact.role === 'user' && contact.email?.toLowerCase() === email,
  );
  if (matches.length > 1) throw refusal(409, 'conflict', 'Multiple existing users match this email address');
  return matches[0];
}

/** The first ten keys in the order sent; the others are dropped silently. */
function readMetadata(metadata: Record<string, unknown>): Record<string, unknown> {
  const tracked = Object.entries(metadata).slice(0, MAX_METADATA_KEYS);
  for (const [key, value] of tracked) {
    const field = `metadata.${key}`;
    if (typeof value === 'number') {
      if (key.endsWith('_date') && !Number.isSafeInteger(value))
        throw invalid(`${field} must be Unix seconds`, field);
      continue;
    }
    if (typeof value === 'string') continue;
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
      if (richLinkSchema.safeParse(value).success || monetarySchema.safeParse(value).success) continue;
      if ('amount' in value)
        throw invalid(`${field} must have a positive integer amount and a currency`, field);
      throw invalid(`${field}: nested JSON is not supported`, field);
    }
    throw invalid(`${field} has an unsupported type`, field);
  }
  return Object.fromEntries(tracked);
}

function eventView(event: RecordedEvent): Record<string, unknown> {
  return {
    type: 'event',
    id: event.id,
    event_name: event.name,
    created_at: event.createdAtS,
    user_id: event.externalId,
    intercom_user_id: event.contactId,
    email: event.email,
    metadata: event.metadata,
  };
}
