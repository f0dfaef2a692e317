import type { RequestHandler, Router } from 'express';
import { z } from 'zod';
import type { Sql } from '../database/sql.ts';
import { badRequest } from '../errors.ts';
import { createRouter } from '../http/app.ts';
import { signedJson } from '../http/signed.ts';
import { idField, optional, optionalId, optionalText } from '../intercom/fields.ts';
import { hubSignature } from '../intercom/signatures.ts';
import { fitsKey } from '../subscription/app-user-ids.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { followMerge, rematchByOldEmail, unassignContact, wakeForContact } from './repository.ts';

const MAX_NOTIFICATION_BYTES = 1024 * 1024;

const notificationSchema = z.object({
  /** An id that is too long for a key becomes `null`, and is not deduplicated. */
  id: idField.nullish().transform((id) => (id != null && fitsKey(id) ? id : null)),
  app_id: idField,
  topic: z.string(),
  data: z.object({ item: z.record(z.string(), z.unknown()).nullish() }).nullish(),
});

/** A contact, or the older user model of `visitor.signed_up`, with `user_id`. Some items have only an id. */
const itemSchema = z
  .object({
    id: idField,
    external_id: optionalId,
    user_id: optionalId,
    email: optionalText,
    merged_from: optional(z.object({ id: idField })),
  })
  .transform((item) => ({
    contactId: item.id,
    externalId: item.external_id || item.user_id || null,
    email: item.email?.toLowerCase() ?? null,
    mergedFrom: item.merged_from?.id ?? null,
  }));

/** Topics that the app subscribes to; the manifest must name exactly these. */
export const HANDLED_TOPICS = [
  'contact.user.created',
  'contact.lead.created',
  'contact.lead.signed_up',
  'contact.lead.added_email',
  'contact.email.updated',
  'contact.merged',
  'contact.archived',
  'contact.unarchive',
  'contact.deleted',
  'visitor.signed_up',
] as const;

/**
 * The documentation names `contact.unarchive`; `contact.unarchived` was recorded (CONFLICT). `contact.signed_up` was
 * recorded from an older version, in which contacts were leads.
 */
const ACCEPTED_TOPICS: ReadonlySet<string> = new Set([
  ...HANDLED_TOPICS,
  'contact.unarchived',
  'contact.signed_up',
]);

/**
 * `HEAD`/`POST /webhooks/intercom`. New contacts get the events that waited for them; deleted ones are unassigned.
 * Other topics are ignored: `contact.user.updated` follows each of our own writes. Answers within the 500 ms after
 * which Intercom lowers the priority of an endpoint.
 */
export function intercomWebhookRouter(
  options: Pick<AppContext, 'database' | 'jobs'> & { clientSecret: string },
): Router {
  const receive: RequestHandler = async (req, res) => {
    const parsed = notificationSchema.safeParse(req.body);
    if (!parsed.success) throw badRequest('The body is not an Intercom notification');
    const { id, app_id: workspaceId, topic, data } = parsed.data;
    const item = itemSchema.safeParse(data?.item).data;
    if (item && ACCEPTED_TOPICS.has(topic)) {
      // Repeated after a deadlock: a merge or a new e-mail locks subscribers in several statements, in no fixed order.
      await options.database.transaction(async (sql) => {
        if (id && !(await isNew(sql, workspaceId, id))) return;
        await applyTopic(sql, workspaceId, { topic, item });
        const { contactId, mergedFrom } = item;
        if (topic === 'contact.merged' && mergedFrom === null)
          await options.jobs.send('contact.follow-merge', { workspaceId, contactId }, { sql });
      });
    }
    res.json({ status: 'ok' });
  };

  const secret = options.clientSecret;
  const signed = signedJson(hubSignature, { secret, maxBytes: MAX_NOTIFICATION_BYTES });
  const router = createRouter();
  router.head('/', (_req, res) => {
    res.status(200).end();
  });
  router.post('/', signed, receive);
  return router;
}

/** Intercom may send a notification twice. */
async function isNew(sql: Sql, workspaceId: string, notificationId: string): Promise<boolean> {
  const rows = await sql.query(
    `insert into notifications (workspace_id, notification_id)
     select workspace_id, $2 from workspaces where workspace_id = $1
     on conflict do nothing returning 1`,
    [workspaceId, notificationId],
  );
  return rows.length > 0;
}

async function applyTopic(
  sql: Sql,
  workspaceId: string,
  { topic, item }: { topic: string; item: z.infer<typeof itemSchema> },
): Promise<void> {
  switch (topic) {
    case 'contact.deleted':
    case 'contact.archived':
      await unassignContact(sql, workspaceId, item.contactId);
      return;
    case 'contact.merged':
      await followMerge(sql, workspaceId, { from: item.mergedFrom, into: item.contactId });
      break;
    case 'contact.email.updated':
      await rematchByOldEmail(sql, workspaceId, item);
      break;
    default:
  }
  await wakeForContact(sql, workspaceId, item);
}
