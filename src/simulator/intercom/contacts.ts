import { type Response, Router } from 'express';
import { z } from 'zod';
import { checkCustomAttributes, writeCustomAttributes } from './attributes.ts';
import type { ContactChanges } from './contact-changes.ts';
import { contactView } from './contact-view.ts';
import { type Context, invalid, notFound, readBody, refusal, requireScope, sessionOf } from './refusals.ts';
import { type Contact, type IntercomState, indexKey } from './state.ts';

/** The fields that the app writes; Intercom accepts others, too. None of these can be cleared with `null`. */
const createSchema = z.strictObject({
  role: z.enum(['user', 'lead']).optional(),
  external_id: z.string().min(1).max(255).optional(),
  email: z.string().includes('@').max(254).optional(),
  custom_attributes: z.record(z.string(), z.unknown()).default({}),
});

const updateSchema = createSchema.pick({ custom_attributes: true });

const emailFilter = z.strictObject({
  field: z.literal('email'),
  operator: z.literal('='),
  value: z.string(),
});
/** The part of the query language that the app uses. The first page is the only one. */
const searchSchema = z.strictObject({
  query: z.union([
    emailFilter,
    z.strictObject({ operator: z.literal('AND'), value: z.array(emailFilter).min(1).max(15) }),
  ]),
  pagination: z.strictObject({ per_page: z.int().min(1).max(150) }).default({ per_page: 50 }),
});

const historyQuery = z.object({
  per_page: z.coerce.number().int().min(1).max(150).default(50),
  cursor: z.string().default('0'),
});

/** Source: Intercom API 2.16, "Contacts" and "Search contacts". */
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

  /** New contacts are missing for `state.searchLagMs`. */
  router.post('/contacts/search', (req, res) => {
    const { workspace } = requireScope(res, 'read_users');
    const { query, pagination } = readBody(searchSchema, req.body);
    const filters = 'field' in query ? [query] : query.value;
    const indexedBeforeMs = context.now() - state.searchLagMs;
    const found = [...state.contacts.values()].filter(
      (contact) =>
        contact.workspaceId === workspace.id &&
        !contact.deleted &&
        !contact.archived &&
        contact.mergedInto === null &&
        contact.createdAtMs <= indexedBeforeMs &&
        filters.every(({ value }) => contact.email?.toLowerCase() === value.toLowerCase()),
    );
    res.json({
      type: 'list',
      data: found.slice(0, pagination.per_page).map(contactView),
      total_count: found.length,
      pages: {
        type: 'pages',
        page: 1,
        ...pagination,
        total_pages: Math.ceil(found.length / pagination.per_page),
      },
    });
  });

  router.get('/contacts/:id/merge_history', (req, res) => {
    const { workspace } = requireScope(res, 'read_users');
    const contact = state.contacts.get(req.params.id);
    const isKnown = contact?.workspaceId === workspace.id && !contact.deleted && contact.mergedInto === null;
    if (!isKnown || contact.role !== 'user') throw notFound('Contact not found');
    const { per_page: perPage, cursor } = readBody(historyQuery, req.query);
    const from = Number(cursor);
    if (!Number.isInteger(from) || from < 0) throw invalid('Invalid cursor', 'cursor');
    const history = contact.mergeHistory.toReversed();
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
    const body = readBody(createSchema, req.body);
    const { email = null, external_id: externalId = null, custom_attributes: values } = body;
    if (email === null && externalId === null && body.role === undefined)
      throw refusal(400, 'parameter_missing', 'One of email, external_id or role is required');
    const role = externalId === null ? (body.role ?? 'user') : 'user';
    if (role === 'user' && email === null && externalId === null)
      throw refusal(400, 'parameter_missing', 'A user needs an email or an external_id');
    refuseDuplicate(state, workspace.id, { role, externalId, email });
    checkCustomAttributes(state, workspace.id, values);
    // A lead gets a generated external id.
    const identity = role === 'lead' ? { role, email } : { role, email, externalId };
    const contact = changes.create(workspace.id, identity);
    writeCustomAttributes(state, contact, values);
    res.json(contactView(contact));
  });

  router.put('/contacts/:id', (req, res) => {
    requireScope(res, 'write_users');
    const contact = findContact(state, req.params.id, res);
    writeCustomAttributes(state, contact, readBody(updateSchema, req.body).custom_attributes);
    contact.updatedAtMs = context.now();
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
  if (!/^2\.1[67]$/.test(sessionOf(res).version)) throw notFound('User Not Found');
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
  { role, externalId, email }: Pick<Contact, 'role' | 'externalId' | 'email'>,
): void {
  let duplicate: Contact | undefined;
  if (externalId !== null) duplicate = state.externalIds.get(indexKey(workspaceId, externalId));
  else if (email !== null && role === 'user')
    duplicate = [...state.contacts.values()].find(
      (contact) =>
        contact.workspaceId === workspaceId &&
        contact.role === 'user' &&
        contact.email?.toLowerCase() === email.toLowerCase() &&
        !contact.deleted &&
        contact.mergedInto === null,
    );
  if (!duplicate) return;
  const what = duplicate.archived ? 'An archived contact' : 'A contact';
  throw refusal(409, 'conflict', `${what} matching those details already exists with id=${duplicate.id}`);
}
