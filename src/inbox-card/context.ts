import type { ViewContext } from '../grants/context.ts';
import { chooseLanguage } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { backLink, canvas, type InboxCanvas, linkButton, type Part } from '../intercom/canvas.ts';
import type { CatalogCache } from '../revenuecat/catalog.ts';
import type { RefreshIfStale } from '../subscribers/refresh.ts';
import { isBlockedId } from '../subscription/app-user-ids.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { dashboardUrl, type Project } from '../workspaces/projects.ts';
import type { CanvasCache } from './canvas-cache.ts';
import type { Candidate, CardReader } from './card-repository.ts';
import { type FormState, isOutdated, signFormState } from './form-state.ts';
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
