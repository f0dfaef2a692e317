import { Router } from 'express';
import { z } from 'zod';
import { type Context, invalid, readBody, refusal, requireScope } from './refusals.ts';
import {
  type AttributeType,
  type Contact,
  type DataAttribute,
  type IntercomState,
  seconds,
} from './state.ts';

const MAX_ATTRIBUTES = 250;
const TYPES: readonly AttributeType[] = [
  'string',
  'integer',
  'float',
  'boolean',
  'datetime',
  'date',
  'options',
];

/** The types that attributes are listed with, where they differ from the types they were created with. */
const LISTED_TYPES: Partial<Record<AttributeType, string>> = { options: 'string', datetime: 'date' };

/** Part of Intercom's own attributes of people. */
const STANDARD_ATTRIBUTES: readonly (readonly [name: string, label: string, dataType: string])[] = [
  ['name', 'Name', 'string'],
  ['email', 'Email', 'string'],
  ['phone', 'Phone', 'string'],
  ['external_id', 'User id', 'string'],
  ['created_at', 'First seen', 'date'],
  ['signed_up_at', 'Signed up', 'date'],
  ['last_seen_at', 'Last seen', 'date'],
];

/** Names of Intercom's own attributes, which no custom attribute may take. */
const STANDARD_NAMES = new Set([
  'id',
  'external_id',
  'workspace_id',
  'role',
  'email',
  'phone',
  'name',
  'owner_id',
  'created_at',
  'updated_at',
  'signed_up_at',
  'last_seen_at',
  'user_id',
  'avatar',
]);

const createSchema = z.object({
  name: z.string().min(1).max(190),
  model: z.string(),
  data_type: z.string(),
  description: z.string().nullish(),
  messenger_writable: z.boolean().optional(),
  options: z.unknown().optional(),
});

const updateSchema = z.strictObject({
  archived: z.boolean().optional(),
  messenger_writable: z.boolean().optional(),
});

/** Attributes of people and companies. Source: Intercom API 2.16, "Data attributes". */
export function attributeRoutes(context: Context): Router {
  const { state, now } = context;
  const router = Router();

  router.get('/data_attributes', (req, res) => {
    const { workspace } = requireScope(res, 'gather_app_data');
    const { model, include_archived: includeArchived } = req.query;
    if (model === 'conversation') {
      throw refusal(
        422,
        'parameter_invalid',
        'model=conversation is no longer supported. Use GET /conversations/attributes instead',
      );
    }
    if (model !== undefined && model !== 'contact' && model !== 'company')
      throw invalid('Invalid model', 'model');
    const found = state.attributes.filter(
      (attribute) =>
        attribute.workspaceId === workspace.id &&
        (model === undefined || attribute.model === model) &&
        (includeArchived === 'true' || !attribute.archived),
    );
    const standard = model === 'company' ? [] : STANDARD_ATTRIBUTES.map(standardView);
    res.json({ type: 'list', data: [...standard, ...found.map(attributeView)] });
  });

  router.post('/data_attributes', (req, res) => {
    const { workspace } = requireScope(res, 'write_data_attributes');
    const body = readBody(createSchema, req.body);
    const { name, model } = body;
    if (model !== 'contact' && model !== 'company') {
      throw invalid('The Data Attribute model field must be either contact or company');
    }
    const dataType = TYPES.find((type) => type === body.data_type);
    if (dataType === undefined) throw invalid("Data Type isn't an option");
    // CONFLICT: the message forbids underscores, but Intercom's own examples have them. They are accepted here.
    if (!/^[\p{L}\p{N}\p{Sc}_ -]+$/u.test(name) || name.trim() === '') {
      throw invalid(
        'Your name for this attribute must only contain alphanumeric characters, currency symbols, and hyphens',
      );
    }
    const kind = model === 'contact' ? 'people' : 'company';
    if (model === 'contact' && STANDARD_NAMES.has(name.toLowerCase())) {
      throw invalid(
        `You already have '${name}' in your people data. To save this as new people data, use a different name.`,
      );
    }
    const existing = state.attributes.filter((attribute) => attribute.workspaceId === workspace.id);
    const clash = existing.find((attribute) => attribute.name.toLowerCase() === name.toLowerCase());
    if (clash) {
      const where = clash.model === 'contact' ? 'people' : 'company';
      throw invalid(
        `You already have '${name}' in your ${where} data. To save this as new ${kind} data, use a different name.`,
      );
    }
    refuseMoreThanMax(state, workspace.id);
    const attribute = insertAttribute(state, now(), workspace.id, {
      name,
      model,
      dataType,
      description: body.description ?? null,
      messengerWritable: body.messenger_writable ?? false,
      options: dataType === 'options' ? readOptions(body.options) : [],
    });
    res.json(attributeView(attribute));
  });

  router.put('/data_attributes/:id', (req, res) => {
    const { workspace } = requireScope(res, 'write_data_attributes');
    const attribute = state.attributes.find(
      (each) => each.workspaceId === workspace.id && String(each.id) === req.params.id,
    );
    if (!attribute) throw refusal(404, 'field_not_found', "We couldn't find that data attribute to update");
    const body = readBody(updateSchema, req.body);
    if (body.archived === false && attribute.archived) refuseMoreThanMax(state, workspace.id);
    if (body.archived !== undefined) attribute.archived = body.archived;
    if (body.messenger_writable !== undefined) attribute.messengerWritable = body.messenger_writable;
    attribute.updatedAtS = seconds(now());
    res.json(attributeView(attribute));
  });

  return router;
}

function refuseMoreThanMax(state: IntercomState, workspaceId: string): void {
  const active = state.attributes.filter((each) => each.workspaceId === workspaceId && !each.archived);
  if (active.length < MAX_ATTRIBUTES) return;
  // intercom-ruby maps this code to the limit; the HTTP status is UNVERIFIED.
  throw refusal(
    400,
    'custom_data_limit_reached',
    `You have reached the limit of ${MAX_ATTRIBUTES} custom data attributes`,
  );
}

function readOptions(options: unknown): string[] {
  if (!Array.isArray(options)) throw invalid("Options isn't an array");
  const values = options.map(
    (option: unknown) => z.object({ value: z.string().min(1) }).safeParse(option).data?.value,
  );
  if (new Set(values).size < 2 || values.includes(undefined)) {
    throw invalid('A list attribute must have at least 2 active options');
  }
  return values as string[];
}

export function insertAttribute(
  state: IntercomState,
  nowMs: number,
  workspaceId: string,
  fields: Pick<DataAttribute, 'name' | 'dataType'> & Partial<DataAttribute>,
): DataAttribute {
  const attribute: DataAttribute = {
    model: 'contact',
    description: null,
    messengerWritable: false,
    options: [],
    archived: false,
    ...fields,
    id: state.attributes.length + 1,
    workspaceId,
    createdAtS: seconds(nowMs),
    updatedAtS: seconds(nowMs),
  };
  state.attributes.push(attribute);
  return attribute;
}

/** In the specification's example, Intercom's own attributes have neither id nor times. */
function standardView([name, label, dataType]: (typeof STANDARD_ATTRIBUTES)[number]): Record<
  string,
  unknown
> {
  return {
    type: 'data_attribute',
    model: 'contact',
    name,
    full_name: name,
    label,
    description: '',
    data_type: dataType,
    api_writable: true,
    ui_writable: false,
    messenger_writable: true,
    custom: false,
    archived: false,
  };
}

function attributeView(attribute: DataAttribute): Record<string, unknown> {
  return {
    type: 'data_attribute',
    id: attribute.id,
    model: attribute.model,
    name: attribute.name,
    full_name: `custom_attributes.${attribute.name}`,
    label: attribute.name,
    description: attribute.description ?? '',
    data_type: LISTED_TYPES[attribute.dataType] ?? attribute.dataType,
    ...(attribute.dataType === 'options' ? { options: attribute.options } : {}),
    api_writable: true,
    ui_writable: false,
    messenger_writable: attribute.messengerWritable,
    custom: true,
    archived: attribute.archived,
    created_at: attribute.createdAtS,
    updated_at: attribute.updatedAtS,
  };
}

/**
 * Writes custom attributes key by key; `null` clears. Nothing is written when one of them is refused.
 * Merging by key is universal practice and not documented (UNVERIFIED), as is the message for unknown names.
 */
export function writeCustomAttributes(
  state: IntercomState,
  contact: Contact,
  values: Record<string, unknown>,
): void {
  checkCustomAttributes(state, contact.workspaceId, values);
  for (const [name, value] of Object.entries(values)) {
    if (value === null) delete contact.customAttributes[name];
    else contact.customAttributes[name] = value;
  }
}

/** Refuses unknown or archived attributes and values of another type. */
export function checkCustomAttributes(
  state: IntercomState,
  workspaceId: string,
  values: Record<string, unknown>,
): void {
  for (const [name, value] of Object.entries(values)) {
    const attribute = state.attributes.find(
      (each) =>
        each.workspaceId === workspaceId && each.model === 'contact' && each.name === name && !each.archived,
    );
    if (!attribute) throw invalid(`Custom attribute '${name}' does not exist`, name);
    if (value !== null && !fits(attribute, value)) {
      throw invalid(`Custom attribute '${name}' must be of type ${attribute.dataType}`, name);
    }
  }
}

function fits(attribute: DataAttribute, value: unknown): boolean {
  switch (attribute.dataType) {
    case 'integer':
      return Number.isSafeInteger(value);
    case 'float':
      return typeof value === 'number' && Number.isFinite(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'date':
    case 'datetime':
      // Unix seconds: a number this large is milliseconds by mistake.
      return Number.isSafeInteger(value) && Math.abs(value as number) < 100_000_000_000;
    case 'options':
      return typeof value === 'string' && attribute.options.includes(value);
    case 'string':
      return typeof value === 'string';
  }
}
