import { type RequestHandler, Router } from 'express';
import { z } from 'zod';
import type { Database, Sql } from '../database/sql.ts';
import { badRequest } from '../errors.ts';
import { signedJson } from '../http/signed.ts';
import { hubSignature } from '../intercom/signatures.ts';
import { fitsKey } from '../subscription/identities.ts';
import { followMerge, forgetContact, forgetOldEmail, wakeForContact } from './contacts-store.ts';

const MAX_NOTIFICATION_BYTES = 1024 * 1024;

const idSchema = z.union([z.string(), z.number()]).transform(String);

const notificationSchema = z.object({
  /** One that no key can hold is followed as often as it comes. */
  id: idSchema.nullish().transform((id) => (id != null && fitsKey(id) ? id : null)),
  app_id: idSchema,
  topic: z.string(),
  data: z.object({ item: z.record(z.string(), z.unknown()).nullish() }).nullish(),
});

const contactSchema = z.object({
  id: idSchema,
  external_id: z.string().nullish().catch(null),
  email: z.string().nullish().catch(null),
  merged_from: z.object({ id: idSchema }).nullish().catch(null),
});

/** Topics that the app is subscribed to; the manifest must name just these. */
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
] as const;

/**
 * `HEAD`/`POST /webhooks/intercom`. Contacts that appear get the events that waited for them; contacts that
 * go are forgotten. Answers within the 500 ms that keep notifications in Intercom's first lane.
 */
export function intercomWebhookRouter(options: { database: Database; clientSecret: string }): Router {
  const receive: RequestHandler = async (req, res) => {
    const parsed = notificationSchema.safeParse(req.body);
    if (!parsed.success) throw badRequest('This is no notification of Intercom');
    const { id, app_id: workspaceId, topic, data } = parsed.data;
    const contact = contactSchema.safeParse(data?.item).data;
    if (contact && topic.startsWith('contact.')) {
      await options.database.transaction(async (sql) => {
        if (id && !(await isNew(sql, workspaceId, id))) return;
        await follow(sql, workspaceId, topic, contact);
      });
    }
    res.json({ status: 'ok' });
  };

  const signed = signedJson(hubSignature, {
    secret: options.clientSecret,
    maxBytes: MAX_NOTIFICATION_BYTES,
    now: Date.now,
  });
  const router = Router();
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

type NotifiedContact = z.infer<typeof contactSchema>;

async function follow(sql: Sql, workspaceId: string, topic: string, item: NotifiedContact): Promise<void> {
  const contact = {
    contactId: item.id,
    externalId: item.external_id ?? null,
    email: item.email ?? null,
  };
  switch (topic) {
    case 'contact.deleted':
    case 'contact.archived':
      await forgetContact(sql, workspaceId, contact.contactId);
      return;
    case 'contact.merged':
      // `merged_from` is documented and was missing from a capture: without it the 410 of the next call tells.
      await followMerge(sql, workspaceId, item.merged_from?.id ?? null, contact.contactId);
      break;
    case 'contact.email.updated':
      await forgetOldEmail(sql, workspaceId, contact);
      break;
    default:
  }
  await wakeForContact(sql, workspaceId, contact);
}
