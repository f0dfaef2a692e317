import { AppError, answerOrError } from '../errors.ts';
import { CONTACT_ATTRIBUTES } from '../subscription/contact-values.ts';
import type { IntercomClient, IntercomDataAttribute } from './client.ts';

const REFUSED: ReadonlySet<string> = new Set(['intercom_rejected', 'intercom_not_found']);

/**
 * Creates the contact attributes that a workspace lacks: lists, then creates. Safe to repeat.
 *
 * A name can be refused because company data uses it, because the workspace has its 250 attributes, or for its
 * underscore, which Intercom's message forbids and its examples have (CONFLICT): the others are still created. An
 * existing attribute that the Messenger may write is made read-only there, or customers could give themselves a
 * subscription. Source: Intercom API 2.16, "Data attributes".
 *
 * @throws AppError when Intercom cannot be reached
 */
export async function provisionAttributes(client: IntercomClient) {
  const existing = await readExisting(client);
  /** Names that can be written now, each with the type that it has in the workspace. */
  const available = new Map<string, AttributeType>();
  const created: string[] = [];
  /** Contacts are written without these attributes; each has its reason. */
  const failed: { name: string; reason: string }[] = [];
  const refused: typeof failed = [];
  for (const attribute of CONTACT_ATTRIBUTES) {
    const { name, dataType } = attribute;
    const found = existing.get(name);
    const reason = found && whyUnusable(found, dataType);
    if (reason) {
      failed.push({ name, reason });
      continue;
    }
    const refusal = await refusalOf(found ? restore(client, found) : client.createDataAttribute(attribute));
    if (refusal !== null) {
      refused.push({ name, reason: refusal });
      continue;
    }
    if (!found || found.archived) created.push(name);
    available.set(name, found ?? { data_type: dataType });
  }
  if (refused.length === 0) return { available, created, failed };
  // Intercom refuses a name that exists: another process may have created it since.
  const current = await readExisting(client);
  for (const refusal of refused) {
    const found = current.get(refusal.name);
    if (found && !found.archived) available.set(refusal.name, found);
    else failed.push(refusal);
  }
  return { available, created, failed };
}

async function readExisting(client: IntercomClient): Promise<Map<string, IntercomDataAttribute>> {
  return new Map((await client.listDataAttributes()).map((found) => [found.name, found]));
}

async function restore(client: IntercomClient, found: IntercomDataAttribute): Promise<void> {
  const { id, archived, messenger_writable: isMessengerWritable } = found;
  if (id == null) return;
  if (archived) await client.updateDataAttribute(id, { archived: false, messenger_writable: false });
  // Where Intercom refuses, the attribute can still be written.
  else if (isMessengerWritable)
    await refusalOf(client.updateDataAttribute(id, { messenger_writable: false }));
}

/** Intercom's reason; `null`: it was done. */
async function refusalOf(change: Promise<void>): Promise<string | null> {
  const answer = await answerOrError(change);
  if (!(answer instanceof AppError)) return null;
  if (REFUSED.has(answer.code)) return answer.message;
  throw answer;
}

export type AttributeType = Pick<IntercomDataAttribute, 'data_type' | 'options'>;

/** An attribute with a list of options is listed as a `string`. */
export function attributeType(attribute: AttributeType): string {
  return attribute.options?.length ? 'options' : attribute.data_type;
}

const SAMPLES = { string: 'active', float: 9.99, boolean: true, date: 1_800_000_000 } as const;

/** Why an attribute cannot hold our values; `null`: it can. A list of options may contain our values. */
function whyUnusable(found: IntercomDataAttribute, ours: keyof typeof SAMPLES): string | null {
  const type = attributeType(found);
  if (found.custom === false || found.api_writable === false)
    return `Intercom does not let apps write ${found.name}`;
  const canHold = type === 'options' || fitAttribute(SAMPLES[ours], found) !== undefined;
  return canHold ? null : `${found.name} is ${type}, not ${ours}`;
}

/**
 * A value as an attribute of this type accepts it; `undefined`: it cannot. A workspace may already have an attribute
 * of the same name with another type, which Intercom does not allow to change.
 */
export function fitAttribute(value: unknown, attribute: AttributeType): unknown {
  if (value === null) return null;
  switch (attributeType(attribute)) {
    case 'string':
      return String(value);
    case 'integer':
      return typeof value === 'number' ? Math.round(value) : undefined;
    case 'float':
      return typeof value === 'number' ? value : undefined;
    case 'date':
    case 'datetime':
      return Number.isSafeInteger(value) ? value : undefined;
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined;
    default:
      // A list of options accepts only those.
      return attribute.options?.includes(value) ? value : undefined;
  }
}

/** Leads have been seen to reject `null` and accept an empty text (an old report, UNVERIFIED). */
export function withoutNull(
  values: Readonly<Record<string, unknown>>,
  types: ReadonlyMap<string, AttributeType>,
): Record<string, unknown> {
  const entries = Object.entries(values).flatMap(([name, value]): [string, unknown][] => {
    if (value !== null) return [[name, value]];
    const type = types.get(name);
    return type && attributeType(type) === 'string' ? [[name, '']] : [];
  });
  return Object.fromEntries(entries);
}
