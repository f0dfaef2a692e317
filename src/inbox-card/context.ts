import type { ViewContext } from '../grants/context.ts';
import { REVIEW_VALID_MS } from '../grants/form-state.ts';
import { chooseLanguage } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { backLink, canvas, type InboxCanvas, type Part, text } from '../intercom/canvas.ts';
import type { CatalogCache } from '../revenuecat/catalog.ts';
import type { RefreshIfStale } from '../subscribers/refresh.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project } from '../workspaces/projects.ts';
import type { CanvasCache } from './canvas-cache.ts';
import type { Candidate, CardReader, CardRecord } from './card-repository.ts';
import type { Customer } from './customer.ts';
import { type FormState, signFormState } from './form-state.ts';
import type { CardRequest } from './request.ts';

/** A canvas, or the JSON of a whole response. */
export type CardAnswer = InboxCanvas | string;

/** What the card needs of the rest of the app; one for the process. */
export interface CardApp extends AppContext {
  /** Reads from `readDatabase`. */
  readonly cards: CardReader;
  /** Signs form state. */
  readonly storedDataKey: string;
  /** Signs addresses of pictures. */
  readonly pictureKey: string;
  readonly catalog: CatalogCache;
  readonly canvases: CanvasCache;
  readonly refreshIfStale: RefreshIfStale;
}

/** One request, with what every view needs. */
export interface CardContext extends Omit<ViewContext, 'customer'> {
  readonly app: CardApp;
  readonly request: CardRequest;
  readonly projects: readonly Project[];
  /** The subscribers that the contact may be: at most one for each project. */
  readonly candidates: readonly Candidate[];
  readonly formState: FormState;
  page(parts: readonly Part[], formState?: FormState): InboxCanvas;
}

/** A request about a known customer. */
export interface CustomerContext extends CardContext {
  readonly customer: Customer;
}

export function createCardContext(
  { app, request, formState }: Pick<CardContext, 'app' | 'request' | 'formState'>,
  record: CardRecord,
): CardContext {
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
  const context: CardContext = {
    ...fields,
    formState,
    isOutdated: isOutdated(formState, fields.app.now()),
    page: (parts, passedOn) =>
      canvas([parts, backLink(fields.messages.t('card.button.back'))], storedData(context, passedOn)),
  };
  return context;
}

/** A view that changes something shows its review again then. */
export function isOutdated({ signedAtMs }: FormState, nowMs: number): boolean {
  return signedAtMs !== undefined && nowMs - signedAtMs > REVIEW_VALID_MS;
}

/** A canvas that opens with the conversation or that *Back* leads to. In answer to anything else it has a way back. */
export function firstCanvas(
  context: CardContext,
  parts: readonly Part[],
  formState?: FormState,
): InboxCanvas {
  const { componentId } = context.request;
  const isFirst = componentId === null || componentId === 'home';
  return isFirst ? canvas(parts, storedData(context, formState)) : context.page(parts, formState);
}

/** One sentence. */
export function sentenceCanvas(
  context: CardContext,
  sentence: string,
  style: 'muted' | 'error' = 'muted',
): InboxCanvas {
  return firstCanvas(context, [text(sentence, style)]);
}

/** Says that a list is longer than what it shows. */
export function andMore({ messages: m }: CardContext, hidden: number): Part {
  return hidden > 0 && text(m.t('card.andMore', { count: hidden }), 'muted');
}

/** The teammate's choice is passed on by every canvas of the card. */
export function storedData(
  context: CardContext,
  formState: FormState = {},
): Record<string, unknown> | undefined {
  const { chosen } = context.formState;
  const all: FormState = chosen === undefined ? formState : { chosen, ...formState };
  if (Object.keys(all).length === 0) return undefined;
  const { storedDataKey, now } = context.app;
  return signFormState(storedDataKey, context.request, { ...all, signedAtMs: now() });
}
