import { z } from 'zod';

/** PostgreSQL takes no NUL; nothing that it knows is named with what stands in its place. */
const id = z.union([z.string(), z.number()]).transform((value) => String(value).replaceAll('\0', '\ufffd'));
const text = z
  .string()
  .nullish()
  .transform((value) => value || null)
  .catch(null);

const personSchema = z
  .object({
    type: text,
    role: text,
    external_id: id.nullish().catch(null),
    user_id: id.nullish().catch(null),
  })
  .nullish()
  .catch(null);

const requestSchema = z.object({
  workspace_id: id,
  component_id: z.string().nullish().catch(null),
  context: z.object({ locale: text }).nullish().catch(null),
  contact: personSchema,
  // Tables name a `user`, real samples have `customer` beside `contact` (CONFLICT in the documentation).
  user: personSchema,
  customer: personSchema,
});

/** A Messenger request, with what the documents disagree on evened out. */
export interface MessengerCardRequest {
  readonly workspaceId: string;
  /** `null`: nothing was pressed. */
  readonly componentId: string | null;
  /** The customer's, BCP 47. */
  readonly locale: string | null;
  /** The external id of a contact that Intercom calls a user; `null`: a lead, a visitor or nobody. */
  readonly userId: string | null;
}

/** `null`: no Canvas Kit request. */
export function readMessengerCardRequest(body: unknown): MessengerCardRequest | null {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) return null;
  const { workspace_id, component_id, context, contact, user, customer } = parsed.data;
  return {
    workspaceId: workspace_id,
    componentId: component_id ?? null,
    locale: context?.locale ?? null,
    userId: userIdOf([contact, user, customer]),
  };
}

/**
 * A lead's external id is made by Intercom and proves nothing. A contact without a role says neither, and the legacy
 * model that stands beside it has a type instead: the first that says something decides.
 */
function userIdOf(people: readonly z.infer<typeof personSchema>[]): string | null {
  for (const person of people) {
    if (!person) continue;
    const kind = person.role ?? (person.type === 'contact' ? null : person.type);
    if (kind !== null) return kind === 'user' ? person.external_id || person.user_id || null : null;
  }
  return null;
}
