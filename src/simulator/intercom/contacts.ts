import { type Response, Router } from 'express';
import { z } from 'zod';
import { checkCustomAttributes, writeCustomAttributes } from './attributes.ts';
import type { ContactChanges, NewContact } from './contact-changes.ts';
import { contactView } from './contact-view.ts';
import {
  type Context,
  invalid,
  isAtLeast,
  notFound,
  readBody,
  refusal,
  requireScope,
  sessionOf,
  unixSeconds,
} from './refusals.ts';
import { type Contact, type IntercomState, indexKey } from './state.ts';

const contactSchema = z.object({
  role: z.enum(['user', 'lead']).optional(),
  // These two fields and the role cannot be cleared with `null`; the others can.
  external_id: z.string().min(1).max(255).optional(),
  email: z.string().includes('@').max(254).optional(),
  email_verified: z.boolean().nullish(),
  phone: z.string().nullish(),
  name: z.string().nullish(),
  avatar: z.string().nullish(),
  signed_up_at: unixSeconds.nullish(),
  last_seen_at: unixSeconds.nullish(),
  owner_id: z.string().nullish(),
  unsubscribed_from_emails: z.boolean().nullish(),
  custom_attributes: z.record(z.string(), z.unknown()).nullish(),
});

type ContactBody = z.infer<typeof contactSchema>;

const historyQuery = z.object({
  per_page: z.coerce.number().int().min(1).max(150).default(50),
  cursor: z.string().optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
});

/** Source: Intercom API 2.16, "Contacts". */
export function contactRoutes(context: Context, changes: ContactChanges): Router {
  const { state } = context;
  const router = Router();

  router.get('/contacts/find_by_external_id/:externalId', (req, res) => {
    const { workspace } = requireScope(res, 'read_users');
    const { externalId } = req.params;
    const contact = state.externalIds.get(indexKey(workspace.id, externalId));
    if (contact && !contact.archived && contact.role === 'user') return void res.json(contactView(contact));
    const merged = [...state.contacts.values()].find(
      (each) =>
        each.workspaceId === workspace.id &&
        each.externalId === externalId &&
        each.role === 'user' &&
        each.mergedInto !== null,
    );
    if (merged) refuseMerged(state, merged, res);
    throw notFound('User Not Found');
  });

  router.get('/contacts/:id/merge_history', (req, res) => {
    const { workspace } = requireScope(res, 'read_users');
    const contact = state.contacts.get(req.params.id);
    const isKnown = contact?.workspaceId === workspace.id && !contact.deleted && contact.mergedInto === null;
    if (!isKnown || contact.role !== 'user') throw notFound('Contact not found');
    const { per_page: perPage, cursor = '0', order } = readBody(historyQuery, req.query);
    const from = Number(cursor);
    if (!Number.isInteger(from) || from < 0) throw invalid('Invalid cursor', 'cursor');
    const history = order === 'asc' ? contact.mergeHistory : contact.mergeHistory.toReversed();
    const hasMore = from + perPage < history.length;
    const data = history.slice(from, from + perPage).map((entry) => ({
      type: 'merge_history',
      source_contact_id: entry.sourceId,
      source_contact_role: entry.sourceRole,
      merged_at: entry.atS,
    }));
    res.json({
      type: 'list',
      data,
      ...(hasMore ? { next_cursor: String(from + perPage) } : {}),
      has_more: hasMore,
    });
  });

  router.get('/contacts/:id', (req, res) => {
    requireScope(res, 'read_users');
    res.json(contactView(findContact(state, req.params.id, res)));
  });

  router.post('/contacts', (req, res) => {
    const { workspace } = requireScope(res, 'write_users');
    const body = readBody(contactSchema, req.body);
    if (body.email == null && body.external_id == null && body.role === undefined) {
      throw refusal(400, 'parameter_missing', 'One of email, external_id or role is required');
    }
    if (body.email_verified !== undefined && body.email == null) {
      throw invalid('email_verified can only be set together with email', 'email_verified');
    }
    const role = body.external_id == null ? (body.role ?? 'user') : 'user';
    if (role === 'user' && body.email == null && body.external_id == null) {
      throw refusal(400, 'parameter_missing', 'A user needs an email or an external_id');
    }
    refuseDuplicate(state, workspace.id, body, role, null);
    checkCustomAttributes(state, workspace.id, body.custom_attributes ?? {});
    const contact = changes.create(workspace.id, { ...fieldsOf(body), role });
    writeCustomAttributes(state, contact, body.custom_attributes ?? {});
    res.json(contactView(contact));
  });

  router.put('/contacts/:id', (req, res) => {
    const { workspace } = requireScope(res, 'write_users');
    const contact = findContact(state, req.params.id, res);
    const body = readBody(contactSchema, req.body);
    if (body.email_verified !== undefined && body.email == null) {
      throw invalid('email_verified can only be set together with email', 'email_verified');
    }
    if (body.role === 'lead' && contact.role === 'user') throw invalid('A user cannot become a lead', 'role');
    refuseDuplicate(state, workspace.id, body, body.role ?? contact.role, contact);
    writeCustomAttributes(state, contact, body.custom_attributes ?? {});
    const email = contact.email;
    if (body.external_id != null && body.external_id !== contact.externalId) {
      if (contact.externalId !== null) state.externalIds.delete(indexKey(workspace.id, contact.externalId));
      state.externalIds.set(indexKey(workspace.id, body.external_id), contact);
    }
    Object.assign(contact, fieldsOf(body));
    contact.updatedAtMs = context.now();
    if (contact.email !== email) changes.emailChanged(contact);
    res.json(contactView(contact));
  });

  router.post('/contacts/:id/unarchive', (req, res) => {
    requireScope(res, 'write_users');
    const { id, externalId } = changes.unarchive(findContact(state, req.params.id, res).id);
    res.json({ type: 'contact', id, external_id: externalId, archived: false });
  });

  return router;
}

function findContact(state: IntercomState, id: string, res: Response): Contact {
  const contact = state.contacts.get(id);
  if (!contact || contact.workspaceId !== sessionOf(res).workspace.id || contact.deleted) {
    throw notFound('User Not Found');
  }
  if (contact.mergedInto !== null) refuseMerged(state, contact, res);
  return contact;
}

/** From version 2.16 on, 410 with a link to the surviving contact; before, a plain 404. */
function refuseMerged(state: IntercomState, merged: Contact, res: Response): never {
  if (!isAtLeast(sessionOf(res).version, 16)) throw notFound('User Not Found');
  let canonical = merged;
  for (let hop = 0; hop < 3 && canonical.mergedInto !== null; hop += 1) {
    canonical = state.contacts.get(canonical.mergedInto) ?? canonical;
  }
  throw refusal(
    410,
    'contact_merged',
    "This contact has been merged. See the 'Link' header for the canonical contact.",
    {
      headers: { Link: `</contacts/${canonical.id}>; rel="canonical"` },
    },
  );
}

/** Users are unique by external ID or, if they have none, by e-mail. Clients parse the wording of the message. */
function refuseDuplicate(
  state: IntercomState,
  workspaceId: string,
  body: ContactBody,
  role: 'user' | 'lead',
  self: Contact | null,
): void {
  let duplicate: Contact | undefined;
  if (body.external_id != null) duplicate = state.externalIds.get(indexKey(workspaceId, body.external_id));
  else if (body.email != null && role === 'user' && self === null) {
    const email = body.email.toLowerCase();
    duplicate = [...state.contacts.values()].find(
      (contact) =>
        contact.workspaceId === workspaceId &&
        contact.role === 'user' &&
        contact.email?.toLowerCase() === email &&
        !contact.deleted &&
        contact.mergedInto === null,
    );
  }
  if (!duplicate || duplicate === self) return;
  const what = duplicate.archived ? 'An archived contact' : 'A contact';
  throw refusal(409, 'conflict', `${what} matching those details already exists with id=${duplicate.id}`);
}

/** Only the fields that were sent: a partial update must not clear the others. */
function fieldsOf(body: ContactBody): NewContact {
  const fields: NewContact = {
    role: body.role,
    externalId: body.external_id,
    email: body.email,
    phone: body.phone,
    name: body.name,
    avatar: body.avatar,
    signedUpAtS: body.signed_up_at,
    lastSeenAtS: body.last_seen_at,
    ownerId: body.owner_id,
    unsubscribedFromEmails: body.unsubscribed_from_emails ?? undefined,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
