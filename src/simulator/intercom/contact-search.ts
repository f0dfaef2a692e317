import { Router } from 'express';
import { z } from 'zod';
import { contactView } from './contact-view.ts';
import { type Context, invalid, readBody, requireScope } from './refusals.ts';
import type { Contact } from './state.ts';

const MAX_FILTERS = 15;
const MAX_LEVELS = 2;
/** The searchable text fields of a simulated contact. The only operator is the one that the app uses. */
const FIELDS: Readonly<Record<string, (contact: Contact) => string | null>> = {
  id: ({ id }) => id,
  role: ({ role }) => role,
  name: ({ name }) => name,
  email: ({ email }) => email,
  phone: ({ phone }) => phone,
  external_id: ({ externalId }) => externalId,
};

const filterSchema = z.strictObject({ field: z.string(), operator: z.literal('='), value: z.string() });
const groupSchema = z.strictObject({
  operator: z.enum(['AND', 'OR']),
  value: z.array(z.unknown()).min(1).max(MAX_FILTERS),
});
const searchSchema = z.strictObject({
  query: z.unknown(),
  pagination: z
    .strictObject({ per_page: z.int().min(1).max(150).default(50), starting_after: z.string().nullish() })
    .nullish(),
});

type Test = (contact: Contact) => boolean;

/** Source: Intercom API 2.16, "Search contacts". New contacts are missing for `state.searchLagMs`. */
export function contactSearchRoutes(context: Context): Router {
  const { state, now } = context;
  const router = Router();
  router.post('/contacts/search', (req, res) => {
    const { workspace } = requireScope(res, 'read_users');
    const { query, pagination } = readBody(searchSchema, req.body);
    const { per_page: perPage, starting_after: after } = pagination ?? { per_page: 50 };
    const matches = compile(query);
    const indexedBefore = now() - state.searchLagMs;
    const found = [...state.contacts.values()].filter(
      (contact) =>
        contact.workspaceId === workspace.id &&
        !contact.deleted &&
        !contact.archived &&
        contact.mergedInto === null &&
        contact.createdAtMs <= indexedBefore &&
        matches(contact),
    );
    const from = after == null ? 0 : found.findIndex((contact) => cursor(contact) === after) + 1;
    if (after != null && from === 0)
      throw invalid('Invalid starting_after cursor', 'pagination.starting_after');
    const data = found.slice(from, from + perPage);
    const last = data.at(-1);
    const page = Math.floor(from / perPage) + 1;
    res.json({
      type: 'list',
      data: data.map(contactView),
      total_count: found.length,
      pages: {
        type: 'pages',
        page,
        per_page: perPage,
        total_pages: Math.ceil(found.length / perPage),
        ...(last && from + data.length < found.length
          ? { next: { page: page + 1, starting_after: cursor(last) } }
          : {}),
      },
    });
  });
  return router;
}

const cursor = (contact: Contact): string => Buffer.from(JSON.stringify([contact.id])).toString('base64');

function compile(query: unknown, level = 1): Test {
  const group = groupSchema.safeParse(query);
  if (group.success) {
    if (level > MAX_LEVELS) throw invalid(`At most ${MAX_LEVELS} levels of nesting are supported`, 'query');
    const tests = group.data.value.map((inner) => compile(inner, level + 1));
    return group.data.operator === 'AND'
      ? (contact) => tests.every((test) => test(contact))
      : (contact) => tests.some((test) => test(contact));
  }
  const { field, value } = readBody(filterSchema, query);
  const read = Object.hasOwn(FIELDS, field) ? FIELDS[field] : undefined;
  if (!read) throw invalid(`Invalid field '${field}'`, field);
  return (contact) => read(contact)?.toLowerCase() === value.toLowerCase();
}
