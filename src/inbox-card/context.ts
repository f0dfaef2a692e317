import { createHmac } from 'node:crypto';
import { z } from 'zod';
import type { ViewContext } from '../grants/context.ts';
import { actionFormState, REVIEW_VALID_MS } from '../grants/form-state.ts';
import { chooseLanguage } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { backLink, canvas, type InboxCanvas, linkButton, type Part } from '../intercom/canvas.ts';
import type { CatalogCache } from '../revenuecat/catalog.ts';
import type { RefreshIfStale } from '../subscribers/refresh.ts';
import { isBlockedId } from '../subscription/app-user-ids.ts';
import { equalInConstantTime } from '../text.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { dashboardUrl, type Project } from '../workspaces/projects.ts';
import type { CanvasCache } from './canvas-cache.ts';
import type { Candidate, CardReader } from './card-repository.ts';
import type { CardRequest } from './request.ts';

/** A canvas, or the JSON of a whole response. */
export type CardAnswer = InboxCanvas | string;

/** Draws a view. @param argument what follows the colon of the component's id */
export type Render<Context> = (context: Context, argument: string) => CardAnswer | Promise<CardAnswer>;

/** What the card needs of the rest of the app; one for the process. */
export interface CardApp extends AppContext {
  /** Reads from `readDatabase`. */
  readonly cards: CardReader;
  /** Signs form state. */
  readonly storedDataKey: string;
  /** Signs addresses of pictures. */
  readonly pictureKey: string;
  readonly catalog: CatalogCache;
  readonly cachedCanvas: CanvasCache;
  readonly refreshIfStale: RefreshIfStale;
}

export interface CardContext extends Omit<ViewContext, 'customer'> {
  readonly app: CardApp;
  readonly request: CardRequest;
  readonly projects: readonly Project[];
  /** The subscribers that the contact may be: at most one for each project. */
  readonly candidates: readonly Candidate[];
  readonly formState: FormState;
  page(parts: readonly Part[], formState?: FormState): InboxCanvas;
}

/** Reads what a card may show; `null`: unknown workspace. */
export async function readCardContext(
  opened: Pick<CardContext, 'app' | 'request' | 'formState'>,
): Promise<CardContext | null> {
  const { app, request, formState } = opened;
  const { id, externalId } = request.contact;
  // Misconfigured apps give every user the same placeholder as external id.
  const isUsable = externalId !== null && !isBlockedId(externalId);
  const record = await app.cards.read(request.workspaceId, {
    contactId: id,
    externalId: isUsable ? externalId : null,
    chosen: formState.chosen ?? null,
  });
  if (!record) return null;
  const { workspace } = record;
  const language = chooseLanguage(request.adminLocale, workspace.settings.card.language);
  const messages = messagesFor(language, workspace.timezone);
  return withFormState({ app, request, ...record, messages }, formState);
}

/** The same request with other form state, as after the teammate has chosen a customer. */
export function withFormState(
  fields: Omit<CardContext, 'formState' | 'isOutdated' | 'page'>,
  formState: FormState,
): CardContext {
  const { componentId } = fields.request;
  // The canvas that opens with the conversation, and that *Back* leads to, has no back link.
  const isFirst = componentId === null || componentId === 'home';
  const context: CardContext = {
    ...fields,
    formState,
    isOutdated: isOutdated(formState, fields.app.now()),
    page: (parts, passedOn) =>
      canvas(
        [parts, !isFirst && backLink(fields.messages.t('card.button.back'))],
        storedData(context, passedOn),
      ),
  };
  return context;
}

export function revenueCatButton({ messages, customer }: Pick<ViewContext, 'messages' | 'customer'>): Part {
  const url = dashboardUrl(customer.project, customer.appUserId);
  return linkButton('open-revenuecat', messages.t('card.button.openRevenueCat'), url);
}

/** Every canvas of the card passes on which customer the teammate chose. */
function storedData(context: CardContext, formState: FormState = {}): Record<string, unknown> | undefined {
  const { chosen } = context.formState;
  const all: FormState = chosen === undefined ? formState : { chosen, ...formState };
  if (Object.keys(all).length === 0) return undefined;
  const { storedDataKey, now } = context.app;
  return signFormState(storedDataKey, context.request, { ...all, signedAtMs: now() });
}

export const TIMELINE_FILTERS = ['all', 'purchases', 'endings', 'payments', 'grants', 'other'] as const;
export const ENVIRONMENT_FILTERS = ['all', 'production', 'sandbox'] as const;

/** How a subscriber was found, for the audit log; `unknown`: no signed list of this card contains it. */
const FOUND_BY = [
  'app_user_id',
  'email',
  'transaction',
  'conversation',
  'possible_match',
  'earlier_link',
  'unknown',
] as const;

export type FoundBy = (typeof FOUND_BY)[number];

/**
 * What a canvas passes on to the next request, in Intercom's `stored_data`. It travels through the browser, so it is
 * signed and bound to the workspace, the teammate and the contact: copied to another card it is refused.
 */
const formStateSchema = z.object({
  signedAtMs: z.number().optional(),
  /** The subscriber that the teammate chose where several were possible, until the card is opened again. */
  chosen: z.string().optional(),
  /** The last event of the timeline page shown and of each page before it: time in epoch ms, and id. */
  pages: z.array(z.tuple([z.number(), z.string()])).optional(),
  filter: z.object({ kind: z.enum(TIMELINE_FILTERS), environment: z.enum(ENVIRONMENT_FILTERS) }).optional(),
  foundBy: z.record(z.string(), z.enum(FOUND_BY)).optional(),
  /** The link that was reviewed, with a fingerprint of what the review showed. */
  match: z
    .object({ subscriberId: z.string(), foundBy: z.enum(FOUND_BY), fingerprint: z.string() })
    .optional(),
  /** The subscriber whose link can be removed. */
  unlink: z.string().optional(),
  ...actionFormState,
});

export type FormState = z.infer<typeof formStateSchema>;

/** Whether the canvas is too old: a view that changes something then shows its review again. */
export function isOutdated({ signedAtMs }: FormState, nowMs: number): boolean {
  return signedAtMs !== undefined && nowMs - signedAtMs > REVIEW_VALID_MS;
}

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
