import { Router } from 'express';
import { z } from 'zod';
import { type Context, invalid, notFound, readBody, refusal, requireScope, unixSeconds } from './refusals.ts';
import { seconds } from './state.ts';

const MAX_METADATA_KEYS = 10;
const MAX_EVENT_NAMES = 120;

/** Without `user_id` and `email`, which Intercom also takes in place of the contact's id: an app needs only one. */
const eventSchema = z.strictObject({
  event_name: z.string().optional(),
  created_at: z.unknown().optional(),
  id: z.string().min(1),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

const richLinkSchema = z.strictObject({ url: z.url({ protocol: /^https?$/ }), value: z.string() });
/** Minor units; zero-decimal currencies are not discussed anywhere (UNVERIFIED). */
const monetarySchema = z.strictObject({
  amount: z.int().positive(),
  currency: z.string().regex(/^[A-Za-z]{3}$/),
});

/** Source: Intercom API 2.16, "Data events", and the help center on the limit of event names. */
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
    const metadata = readMetadata(body.metadata ?? {});

    const contact = state.contacts.get(body.id);
    const isReachable = contact?.workspaceId === workspace.id && !contact.deleted && !contact.archived;
    if (!isReachable || contact.mergedInto !== null) throw notFound('User Not Found');

    const name = body.event_name.trim().replace(/[.$]/g, '-');
    const lowerName = name.toLowerCase();
    const key = [workspace.id, contact.externalId ?? contact.id, lowerName, createdAtS].join('\n');
    if (state.eventKeys.has(key)) {
      state.duplicateEvents += 1;
      return void res.status(202).end();
    }
    const names = state.eventNames.get(workspace.id) ?? new Set();
    if (!names.has(lowerName) && names.size >= MAX_EVENT_NAMES) {
      // As recorded by several apps.
      throw refusal(422, '422', `Cannot have more than ${MAX_EVENT_NAMES} active event names`);
    }
    state.eventNames.set(workspace.id, names.add(lowerName));
    state.eventKeys.add(key);
    state.events.push({
      workspaceId: workspace.id,
      contactId: contact.id,
      externalId: contact.externalId,
      name,
      createdAtS,
      metadata,
      receivedAtMs: now(),
    });
    res.status(202).end();
  });

  return router;
}

/** Keeps the first ten keys in the order sent, and silently drops the others. */
function readMetadata(metadata: Record<string, unknown>): Record<string, unknown> {
  const tracked = Object.entries(metadata).slice(0, MAX_METADATA_KEYS);
  for (const [key, value] of tracked) {
    const field = `metadata.${key}`;
    if (key.endsWith('_date') && !unixSeconds.safeParse(value).success)
      throw invalid(`${field} must be Unix seconds`, field);
    if (typeof value === 'number' || typeof value === 'string') continue;
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
