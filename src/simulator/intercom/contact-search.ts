import { Router } from 'express';
import { z } from 'zod';
import { contactView } from './contact-view.ts';
import { type Context, invalid, readBody, refusal, requireScope } from './refusals.ts';
import type { AttributeType, Contact, IntercomState } from './state.ts';

const MAX_FILTERS = 15;
const MAX_LEVELS = 2;
type FieldType = 'string' | 'boolean' | 'number' | 'date';
/** Source: Intercom API 2.16, "Search contacts": which operators a field of a type accepts. */
const OPERATORS: Readonly<Record<FieldType, readonly string[]>> = {
  string: ['=', '!=', 'IN', 'NIN', '~', '!~', '^', '$'],
  boolean: ['=', '!=', 'IN', 'NIN'],
  number: ['=', '!=', 'IN', 'NIN', '<', '>', '<=', '>='],
  date: ['=', '<', '>'],
};
/** Of Intercom's own fields that are not texts. */
const FIELD_TYPES: Partial<Record<string, FieldType>> = {
  unsubscribed_from_emails: 'boolean',
  created_at: 'date',
  updated_at: 'date',
  signed_up_at: 'date',
  last_seen_at: 'date',
};
const ATTRIBUTE_TYPES: Partial<Record<AttributeType, FieldType>> = {
  integer: 'number',
  float: 'number',
  boolean: 'boolean',
  date: 'date',
  datetime: 'date',
};
const FIELDS: Readonly<Record<string, (contact: Contact) => string | number | boolean | null>> = {
  id: ({ id }) => id,
  role: ({ role }) => role,
  name: ({ name }) => name,
  email: ({ email }) => email,
  email_domain: ({ email }) => email?.split('@')[1] ?? null,
  phone: ({ phone }) => phone,
  external_id: ({ externalId }) => externalId,
  owner_id: ({ ownerId }) => ownerId,
  unsubscribed_from_emails: ({ unsubscribedFromEmails }) => unsubscribedFromEmails,
  created_at: ({ createdAtMs }) => createdAtMs / 1_000,
  updated_at: ({ updatedAtMs }) => updatedAtMs / 1_000,
  signed_up_at: ({ signedUpAtS }) => signedUpAtS,
  last_seen_at: ({ lastSeenAtS }) => lastSeenAtS,
};

const filterSchema = z.strictObject({
  field: z.string(),
  operator: z.string(),
  value: z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.union([z.string(), z.number()]))]),
});
const searchSchema = z.object({
  query: z.unknown(),
  pagination: z
    .object({ per_page: z.int().min(1).max(150).default(50), starting_after: z.string().nullish() })
    .default({ per_page: 50 }),
  sort: z.object({ field: z.string(), order: z.string() }).optional(),
});

type Test = (contact: Contact) => boolean;

/** Source: Intercom API 2.16, "Search contacts". New contacts are missing for `state.searchLagMs`. */
export function contactSearchRoutes(context: Context): Router {
  const { state, now } = context;
  const router = Router();
  router.post('/contacts/search', (req, res) => {
    const { workspace } = requireScope(res, 'read_users');
    const { query, pagination, sort } = readBody(searchSchema, req.body);
    if (sort && sort.order !== 'ascending' && sort.order !== 'descending') {
      throw refusal(
        400,
        'invalid_sort_order',
        `Invalid sort order '${sort.order}'. Must be one of: ascending, descending`,
      );
    }
    const matches = compile(query, (field) => typeOf(state, workspace.id, field));
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
    if (sort) {
      const direction = sort.order === 'ascending' ? 1 : -1;
      found.sort((a, b) => direction * compare(fieldValue(a, sort.field), fieldValue(b, sort.field)));
    }
    const after = pagination.starting_after ?? null;
    const at = after === null ? -1 : found.findIndex((contact) => cursor(contact) === after);
    if (after !== null && at < 0) throw invalid('Invalid starting_after cursor', 'pagination.starting_after');
    const page = found.slice(at + 1, at + 1 + pagination.per_page);
    const last = page.at(-1);
    const more = at + 1 + page.length < found.length;
    const pageNumber = Math.floor((at + 1) / pagination.per_page) + 1;
    res.json({
      type: 'list',
      data: page.map(contactView),
      total_count: found.length,
      pages: {
        type: 'pages',
        page: pageNumber,
        per_page: pagination.per_page,
        total_pages: Math.ceil(found.length / pagination.per_page),
        ...(more && last ? { next: { page: pageNumber + 1, starting_after: cursor(last) } } : {}),
      },
    });
  });
  return router;
}

const cursor = (contact: Contact): string => Buffer.from(JSON.stringify([contact.id])).toString('base64');

function compile(query: unknown, type: (field: string) => FieldType, level = 1): Test {
  const group = z
    .strictObject({ operator: z.enum(['AND', 'OR']), value: z.array(z.unknown()).min(1) })
    .safeParse(query);
  if (group.success) {
    const { operator, value } = group.data;
    if (level > MAX_LEVELS) throw invalid(`At most ${MAX_LEVELS} levels of nesting are supported`, 'query');
    if (value.length > MAX_FILTERS)
      throw invalid(`At most ${MAX_FILTERS} filters per group are supported`, 'query');
    const tests = value.map((inner) => compile(inner, type, level + 1));
    return operator === 'AND'
      ? (contact) => tests.every((test) => test(contact))
      : (contact) => tests.some((test) => test(contact));
  }
  const filter = filterSchema.safeParse(query);
  if (!filter.success) throw invalid('Query is not a filter or a group of filters', 'query');
  return compileFilter(filter.data, type(filter.data.field));
}

function typeOf(state: IntercomState, workspaceId: string, field: string): FieldType {
  if (Object.hasOwn(FIELDS, field)) return FIELD_TYPES[field] ?? 'string';
  const attribute = state.attributes.find(
    (each) =>
      each.workspaceId === workspaceId &&
      each.model === 'contact' &&
      !each.archived &&
      field === `custom_attributes.${each.name}`,
  );
  if (!attribute) throw invalid(`Invalid field '${field}'`, field);
  return ATTRIBUTE_TYPES[attribute.dataType] ?? 'string';
}

function compileFilter({ field, operator, value }: z.infer<typeof filterSchema>, type: FieldType): Test {
  if (!OPERATORS[type].includes(operator))
    throw invalid(`Invalid operator '${operator}' for ${field}`, field);
  if (type === 'date') {
    // Day-granular; the workspace's time zone is ignored here.
    const day = (unixS: unknown): number => Math.floor(Number(unixS) / 86_400);
    const wanted = day(value);
    if (!Number.isFinite(wanted)) throw invalid(`Invalid value for ${field}`, field);
    return (contact) => {
      const own = fieldValue(contact, field);
      if (own === null) return false;
      return operator === '='
        ? day(own) === wanted
        : operator === '<'
          ? day(own) < wanted
          : day(own) > wanted;
    };
  }
  const lower = (input: unknown): unknown =>
    typeof input === 'string' ? input.toLowerCase() : (input ?? null);
  const text = (input: unknown): string => String(lower(input) ?? '');
  const given = (contact: Contact): unknown => lower(fieldValue(contact, field));
  switch (operator) {
    case '=':
      return (contact) => given(contact) === lower(value);
    case '!=':
      return (contact) => given(contact) !== lower(value);
    case 'IN':
    case 'NIN': {
      if (!Array.isArray(value)) throw invalid(`${operator} needs a list of values`, field);
      const values = new Set(value.map(lower));
      return (contact) => values.has(given(contact)) === (operator === 'IN');
    }
    case '<':
    case '>': {
      const sign = operator === '<' ? -1 : 1;
      return (contact) => given(contact) !== null && compare(given(contact), lower(value)) * sign > 0;
    }
    case '<=':
    case '>=': {
      const sign = operator === '<=' ? -1 : 1;
      return (contact) => given(contact) !== null && compare(given(contact), lower(value)) * sign >= 0;
    }
    case '~':
      return (contact) => text(given(contact)).includes(text(value));
    case '!~':
      return (contact) => !text(given(contact)).includes(text(value));
    case '^':
      return (contact) => text(given(contact)).startsWith(text(value));
    case '$':
      return (contact) => text(given(contact)).endsWith(text(value));
    default:
      throw invalid(`Invalid operator '${operator}'`, field);
  }
}

function fieldValue(contact: Contact, field: string): unknown {
  if (field.startsWith('custom_attributes.')) {
    return contact.customAttributes[field.slice('custom_attributes.'.length)] ?? null;
  }
  return Object.hasOwn(FIELDS, field) ? (FIELDS[field]?.(contact) ?? null) : null;
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a ?? '').localeCompare(String(b ?? ''));
}
