import { z } from 'zod';
import { type Language, languageOf } from '../i18n/languages.ts';

/** PostgreSQL cannot hold NUL. It is replaced, not removed: an id with it must not match the id without it. */
const replaceNul = (value: string): string => value.replaceAll('\0', '\ufffd');

const id = z.union([z.string(), z.number()]).transform((value) => replaceNul(String(value)));
const text = z
  .string()
  .nullish()
  .transform((value) => (value ? replaceNul(value) : null))
  .catch(null);

const contactSchema = z.object({
  id: id.nullish().catch(null),
  external_id: id.nullish().catch(null),
  user_id: id.nullish().catch(null),
  email: text,
  name: text,
  role: text,
  language_override: text,
  browser_language: text,
  archived: z.boolean().nullish().catch(null),
  deleted: z.boolean().nullish().catch(null),
});

const partSchema = z.object({
  body: text,
  author: z.object({ type: text }).nullish().catch(null),
});

/** The newest parts of a conversation are searched for an app user id. */
const MAX_PARTS = 50;

const requestSchema = z.object({
  workspace_id: id,
  admin: z
    .object({ id: id.nullish().catch(null), name: text, email: text, locale: text, language: text })
    .nullish()
    .catch(null),
  conversation: z
    .object({
      id: id.nullish().catch(null),
      source: z.object({ body: text }).nullish().catch(null),
      conversation_parts: z
        .object({ conversation_parts: z.array(z.unknown()) })
        .nullish()
        .catch(null),
    })
    .nullish()
    .catch(null),
  context: z
    .object({ conversation_id: id.nullish().catch(null) })
    .nullish()
    .catch(null),
  contact: contactSchema.nullish().catch(null),
  // The legacy name of `contact`: a real sample has both, older ones only this (CONFLICT in the documentation).
  customer: contactSchema.nullish().catch(null),
  component_id: id.nullish().catch(null),
  input_values: z.record(z.string(), z.unknown()).nullish().catch(null),
  current_canvas: z
    .object({ stored_data: z.record(z.string(), z.unknown()).nullish().catch(null) })
    .nullish()
    .catch(null),
});

/** An initialize or submit request of the inbox, in one shape for everything that Intercom's sources disagree on. */
export interface CardRequest {
  readonly workspaceId: string;
  readonly admin: { readonly id: string; readonly name: string; readonly email: string | null };
  /** The teammate's, BCP 47; `null`: not in the request. */
  readonly adminLocale: string | null;
  readonly conversationId: string | null;
  /** What customers wrote, newest first; plain text or HTML. */
  readonly conversationTexts: () => string[];
  readonly contact: {
    /** `''`: the conversation has no contact. */
    readonly id: string;
    readonly externalId: string | null;
    readonly email: string | null;
    readonly name: string | null;
    /** The customer's, where it is one of ours: for texts to send to them. */
    readonly language: Language | null;
    readonly isLead: boolean;
    /** The request names no contact. */
    readonly isMissing: boolean;
    /** Deleted or archived. */
    readonly isGone: boolean;
  };
  /** `null`: an initialize request. */
  readonly componentId: string | null;
  readonly inputs: Readonly<Record<string, string>>;
  readonly storedData: Readonly<Record<string, unknown>>;
}

/** Only the workspace is required: real requests lack what the reference marks as required. `null`: not a request. */
export function readCardRequest(body: unknown): CardRequest | null {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) return null;
  const { admin, conversation, context, contact, customer, ...rest } = parsed.data;
  const about = contact ?? customer;
  const inputs: Record<string, string> = {};
  for (const [name, value] of Object.entries(rest.input_values ?? {})) {
    if (typeof value === 'string') inputs[name] = replaceNul(value);
  }
  return {
    workspaceId: rest.workspace_id,
    admin: { id: admin?.id ?? '', name: admin?.name ?? '', email: admin?.email ?? null },
    adminLocale: admin?.locale ?? admin?.language ?? null,
    conversationId: conversation?.id ?? context?.conversation_id ?? null,
    conversationTexts: () => textsOf(conversation),
    contact: {
      id: contact?.id ?? customer?.id ?? '',
      externalId: contact?.external_id ?? customer?.external_id ?? customer?.user_id ?? null,
      email: contact?.email ?? customer?.email ?? null,
      name: contact?.name ?? customer?.name ?? null,
      language: languageOf(about?.language_override) ?? languageOf(about?.browser_language),
      isLead: about?.role === 'lead',
      isMissing: about === null || about === undefined,
      isGone: about?.deleted === true || about?.archived === true,
    },
    componentId: rest.component_id ?? null,
    inputs,
    storedData: rest.current_canvas?.stored_data ?? {},
  };
}

function textsOf(conversation: z.infer<typeof requestSchema>['conversation']): string[] {
  const texts: string[] = [];
  for (const raw of conversation?.conversation_parts?.conversation_parts.slice(-MAX_PARTS).reverse() ?? []) {
    const part = partSchema.safeParse(raw).data;
    // Only what the customer wrote counts, not teammates and bots.
    if (part?.body && part.author?.type !== 'admin' && part.author?.type !== 'bot') texts.push(part.body);
  }
  const body = conversation?.source?.body;
  if (body) texts.push(body);
  return texts;
}
