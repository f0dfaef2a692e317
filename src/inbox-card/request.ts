import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { actionFormState } from '../grants/form-state.ts';
import { languageOf } from '../i18n/languages.ts';
import { idField, optionalId, optionalText } from '../intercom/fields.ts';
import { equalInConstantTime } from '../text.ts';

const optionalFlag = z.boolean().nullish().catch(null);

const contactSchema = z
  .object({
    id: optionalId,
    external_id: optionalId,
    user_id: optionalId,
    email: optionalText,
    name: optionalText,
    role: optionalText,
    language_override: optionalText,
    browser_language: optionalText,
    archived: optionalFlag,
    deleted: optionalFlag,
  })
  .nullish()
  .catch(null);

const partSchema = z.object({
  body: optionalText,
  author: z.object({ type: optionalText }).nullish().catch(null),
});

/** The newest parts of a conversation are searched for an app user id. */
const MAX_PARTS = 50;

const requestSchema = z.object({
  workspace_id: idField,
  admin: z
    .object({
      id: optionalId,
      name: optionalText,
      email: optionalText,
      locale: optionalText,
      language: optionalText,
    })
    .nullish()
    .catch(null),
  conversation: z
    .object({
      id: optionalId,
      source: z.object({ body: optionalText }).nullish().catch(null),
      conversation_parts: z
        .object({ conversation_parts: z.array(z.unknown()) })
        .nullish()
        .catch(null),
    })
    .nullish()
    .catch(null),
  context: z.object({ conversation_id: optionalId }).nullish().catch(null),
  contact: contactSchema,
  // The legacy name of `contact`: a real sample has both, older ones only this (CONFLICT in the documentation).
  customer: contactSchema,
  component_id: optionalId,
  input_values: z.record(z.string(), z.unknown()).nullish().catch(null),
  current_canvas: z
    .object({ stored_data: z.record(z.string(), z.unknown()).nullish().catch(null) })
    .nullish()
    .catch(null),
});

/** An initialize or submit request of the inbox, in one shape for everything that Intercom's sources disagree on. */
export type CardRequest = Readonly<NonNullable<ReturnType<typeof readCardRequest>>>;

/** Only the workspace is required: real requests lack what the reference marks as required. `null`: not a request. */
export function readCardRequest(body: unknown) {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) return null;
  const { admin, conversation, context, contact, customer, ...rest } = parsed.data;
  const about = contact ?? customer;
  const inputs = Object.entries(rest.input_values ?? {}).filter(
    (input): input is [string, string] => typeof input[1] === 'string',
  );
  return {
    workspaceId: rest.workspace_id,
    admin: { id: admin?.id ?? '', name: admin?.name ?? '', email: admin?.email ?? null },
    /** The teammate's, BCP 47; `null`: not in the request. */
    adminLocale: admin?.locale ?? admin?.language ?? null,
    conversationId: conversation?.id ?? context?.conversation_id ?? null,
    /** What customers wrote, newest first; plain text or HTML. */
    conversationTexts: (): string[] => textsOf(conversation),
    contact: {
      /** `''`: the conversation has no contact. */
      id: contact?.id ?? customer?.id ?? '',
      externalId: contact?.external_id ?? customer?.external_id ?? customer?.user_id ?? null,
      email: contact?.email ?? customer?.email ?? null,
      name: contact?.name ?? customer?.name ?? null,
      /** The customer's, where it is one of ours: for texts to send to them. */
      language: languageOf(about?.language_override) ?? languageOf(about?.browser_language),
      isLead: about?.role === 'lead',
      /** The request names no contact. */
      isMissing: about === null || about === undefined,
      /** Deleted or archived. */
      isGone: about?.deleted === true || about?.archived === true,
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

export const TIMELINE_FILTERS = ['all', 'purchases', 'endings', 'payments', 'grants', 'other'] as const;
export const ENVIRONMENT_FILTERS = ['all', 'production', 'sandbox'] as const;

/**
 * What a canvas passes on to the next request, in Intercom's `stored_data`. It travels through the browser, so it is
 * signed and bound to the workspace, the teammate and the contact: copied to another card it is refused.
 */
const formStateSchema = z.object({
  signedAtMs: z.number().optional(),
  /** The subscriber that the teammate chose where several were possible, until the card is opened again. */
  chosen: z.string().optional(),
  /** First and last event of the timeline page shown: time in epoch ms, and id. */
  page: z
    .object({ first: z.tuple([z.number(), z.string()]), last: z.tuple([z.number(), z.string()]) })
    .optional(),
  filter: z.object({ kind: z.enum(TIMELINE_FILTERS), environment: z.enum(ENVIRONMENT_FILTERS) }).optional(),
  /** How each subscriber of a list was found, for the audit log. */
  foundBy: z.record(z.string(), z.string()).optional(),
  /** The link that was reviewed, with a fingerprint of what the review showed. */
  match: z.object({ subscriberId: z.string(), foundBy: z.string(), fingerprint: z.string() }).optional(),
  /** The subscriber whose link can be removed. */
  unlink: z.string().optional(),
  ...actionFormState,
});

export type FormState = z.infer<typeof formStateSchema>;

/** Whose card the form state belongs to. */
type FormStateOwner = Pick<CardRequest, 'workspaceId'> & {
  readonly admin: { readonly id: string };
  readonly contact: { readonly id: string };
};

export function signFormState(
  key: string,
  owner: FormStateOwner,
  formState: FormState & { readonly signedAtMs: number },
): Record<string, unknown> {
  const data = JSON.stringify(formState);
  return { data, mac: sign(key, owner, data) };
}

/** `null`: tampered with, or made for another card. */
export function verifyFormState(key: string, request: CardRequest): FormState | null {
  const { data, mac } = request.storedData;
  if (data === undefined && mac === undefined) return {};
  if (typeof data !== 'string' || typeof mac !== 'string') return null;
  if (!equalInConstantTime(mac, sign(key, request, data))) return null;
  const parsed = formStateSchema.safeParse(JSON.parse(data));
  // Signed by another version of this app: the card starts again without it.
  return parsed.success ? parsed.data : {};
}

function sign(key: string, { workspaceId, admin, contact }: FormStateOwner, data: string): string {
  const bound = JSON.stringify([workspaceId, admin.id, contact.id, data]);
  return createHmac('sha256', `stored-data|${key}`).update(bound).digest('base64url');
}
