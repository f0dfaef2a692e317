import { z } from 'zod';
import { languageOf } from '../i18n/languages.ts';
import { idField, optional, optionalId, optionalText } from '../intercom/fields.ts';
import { cut } from '../text.ts';

const contactSchema = optional(
  z.object({
    id: optionalId,
    external_id: optionalId,
    user_id: optionalId,
    email: optionalText,
    role: optionalText,
    type: optionalText,
    language_override: optionalText,
    browser_language: optionalText,
    archived: optional(z.boolean()),
    deleted: optional(z.boolean()),
  }),
);

const partSchema = z.object({ body: optionalText, author: optional(z.object({ type: optionalText })) });

/** Longer inputs are cut: a refused action stores them in the audit log. No field needs as much. */
const MAX_INPUT_LENGTH = 4_000;
/** The newest parts of a conversation are searched for an app user id. */
const MAX_PARTS = 50;

const requestSchema = z.object({
  workspace_id: idField,
  admin: optional(
    z.object({
      id: optionalId,
      name: optionalText,
      email: optionalText,
      locale: optionalText,
      language: optionalText,
    }),
  ),
  conversation: optional(
    z.object({
      id: optionalId,
      source: optional(z.object({ body: optionalText })),
      conversation_parts: optional(z.object({ conversation_parts: z.array(z.unknown()) })),
    }),
  ),
  context: optional(z.object({ conversation_id: optionalId })),
  contact: contactSchema,
  // The legacy name of `contact`: a real sample has both, older ones only this (CONFLICT in the documentation).
  customer: contactSchema,
  component_id: optionalId,
  input_values: optional(z.record(z.string(), z.unknown())),
  current_canvas: optional(z.object({ stored_data: optional(z.record(z.string(), z.unknown())) })),
});

/** An initialize or submit request of the inbox, in one shape for everything that Intercom's sources disagree on. */
export type CardRequest = Readonly<NonNullable<ReturnType<typeof readCardRequest>>>;

/** Only the workspace is required: real requests lack what the reference marks as required. `null`: not a request. */
export function readCardRequest(body: unknown) {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) return null;
  const { admin, conversation, context, contact, customer, ...rest } = parsed.data;
  const about = contact ?? customer;
  const inputs = Object.entries(rest.input_values ?? {}).flatMap(([id, value]) =>
    typeof value === 'string' ? [[id, cut(value, MAX_INPUT_LENGTH)] as const] : [],
  );
  return {
    workspaceId: rest.workspace_id,
    admin: { id: admin?.id ?? '', name: admin?.name ?? '', email: admin?.email ?? null },
    /** The teammate's language, BCP 47; `null`: not in the request. */
    adminLocale: admin?.locale ?? admin?.language ?? null,
    conversationId: conversation?.id ?? context?.conversation_id ?? null,
    /** What customers wrote, newest first; plain text or HTML. */
    conversationTexts: (): string[] => textsOf(conversation),
    contact: {
      /** `''`: the conversation has no contact. */
      id: contact?.id ?? customer?.id ?? '',
      externalId: contact?.external_id ?? customer?.external_id ?? customer?.user_id ?? null,
      email: contact?.email ?? customer?.email ?? null,
      /** The customer's language, if the app supports it: for texts to send to them. */
      language: languageOf(about?.language_override) ?? languageOf(about?.browser_language),
      isLead: (contact?.role ?? customer?.role ?? customer?.type) === 'lead',
      isMissing: about === null,
      isArchivedOrDeleted: about?.deleted === true || about?.archived === true,
    },
    /** `null`: an initialize request. */
    componentId: rest.component_id,
    inputs: Object.fromEntries(inputs),
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
