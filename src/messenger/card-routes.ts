import type { Request, RequestHandler, Router } from 'express';
import { z } from 'zod';
import { badRequest } from '../errors.ts';
import { createRouter } from '../http/app.ts';
import { languageOf } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { notInstalled, type Part } from '../intercom/canvas.ts';
import { drawInTime } from '../intercom/draw-in-time.ts';
import { idField, optional, optionalId, optionalText } from '../intercom/fields.ts';
import type { RefreshIfStale } from '../subscribers/refresh.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { readInstalled, type Workspace } from '../workspaces/repository.ts';
import { cardHistory, cardHoldings, contentOf, liveCanvas, plainCard } from './card-view.ts';
import { findCustomers } from './customer.ts';
import { viewCustomer } from './customer-view.ts';

const personSchema = optional(
  z.object({ type: optionalText, role: optionalText, external_id: optionalId, user_id: optionalId }),
);

const requestSchema = z.object({
  workspace_id: idField,
  component_id: optional(z.string()),
  context: optional(z.object({ locale: optionalText })),
  contact: personSchema,
  // Intercom's tables name a `user`, real samples have both `customer` and `contact` (CONFLICT in its documentation).
  user: personSchema,
  customer: personSchema,
});

type Person = z.infer<typeof personSchema>;

/**
 * The contact of a Messenger request: a user's external id; `anonymous` for a lead, a visitor, or a user without one;
 * `none` where a teammate looks at the card in the inbox (seen in a production app).
 */
type Viewer = { readonly userId: string } | 'anonymous' | 'none';

type MessengerRequest = Readonly<ReturnType<typeof readMessengerRequest>>;

/**
 * The customer's own card in the Messenger: `POST /canvas/messenger/initialize`, `/submit` and `/live`, behind
 * signature verification. The customer is taken from each signed request, never from the canvas.
 */
export function messengerCardRouter(app: AppContext, refreshIfStale: RefreshIfStale): Router {
  const { readDatabase, now, logger } = app;
  const { publicUrl } = app.config;

  async function render(request: MessengerRequest): Promise<Part[]> {
    const { workspaceId, viewer, componentId, messages } = request;
    const workspace = await readInstalled(readDatabase, workspaceId);
    if (!workspace) return notInstalled(messages, publicUrl);
    if (viewer === 'none') return plainCard(messages.t('messenger.customerOnly'), messages);
    if (viewer === 'anonymous') return plainCard(messages.t('messenger.signInFirst'), messages);
    if (!isTrusted(workspace)) return plainCard(messages.t('messenger.unverified'), messages);
    const customers = await findCustomers(app, workspaceId, viewer.userId);
    for (const customer of customers) refreshIfStale(workspaceId, customer);
    const view = viewCustomer(customers, messagesFor(messages.language, workspace.timezone), now());
    const [, page, from = 0] = /^(history|more)(?::(\d{1,6}))?$/.exec(componentId ?? '') ?? [];
    if (page === 'history') return cardHistory(view, messages, Number(from));
    return cardHoldings(view, messages, page === 'more' ? Number(from) : 0);
  }

  async function renderInTime(req: Request, request: MessengerRequest): Promise<Part[]> {
    const { messages } = request;
    const fallback = () => plainCard(messages.t('messenger.unavailable'), messages);
    return drawInTime(render(request), req, { ...request, place: 'messenger', logger, fallback });
  }

  const initialize: RequestHandler = async (req, res) => {
    const { workspaceId, messages } = readMessengerRequest(req);
    const workspace = await readInstalled(readDatabase, workspaceId).catch((error: unknown) => {
      // The live view reports what is wrong, to the customer and in the log.
      logger.error({ err: error, workspaceId }, 'could not read the workspace of a customer card');
      return 'unknown' as const;
    });
    res.json({ canvas: workspace ? liveCanvas(publicUrl) : contentOf(notInstalled(messages, publicUrl)) });
  };

  const submit: RequestHandler = async (req, res) => {
    const request = readMessengerRequest(req);
    // On its first canvas the card is live again, so that Intercom requests its content at each view.
    const isHome = request.componentId === null || request.componentId === 'home';
    res.json({ canvas: isHome ? liveCanvas(publicUrl) : contentOf(await renderInTime(req, request)) });
  };

  const live: RequestHandler = async (req, res) => {
    res.json(contentOf(await renderInTime(req, { ...readMessengerRequest(req), componentId: null })));
  };

  const router = createRouter();
  router.post('/initialize', initialize);
  router.post('/submit', submit);
  router.post('/live', live);
  return router;
}

function readMessengerRequest(req: Request) {
  const parsed = requestSchema.safeParse(req.body);
  if (!parsed.success) throw badRequest('Not a Canvas Kit request');
  const { workspace_id, component_id, context, contact, user, customer } = parsed.data;
  return {
    workspaceId: workspace_id,
    /** `null`: nothing was pressed. */
    componentId: component_id,
    viewer: viewerOf([contact, user, customer]),
    messages: messagesFor(languageOf(context?.locale) ?? 'en'),
  };
}

/**
 * A lead's external id is made by Intercom and proves nothing. The first object with a role decides. A contact's role
 * may be missing; the legacy model has a type instead.
 */
function viewerOf(people: readonly Person[]): Viewer {
  for (const person of people) {
    if (!person) continue;
    const role = person.role ?? (person.type === 'contact' ? null : person.type);
    if (role === null) continue;
    const userId = role === 'user' ? person.external_id || person.user_id : null;
    return userId ? { userId } : 'anonymous';
  }
  return people.some((person) => person?.external_id || person?.user_id) ? 'anonymous' : 'none';
}

/** Without identity verification anyone can boot the Messenger as any user: the request's contact proves nothing. */
function isTrusted({ identityVerification, settings }: Workspace): boolean {
  return identityVerification === true || settings.messenger.unverifiedAccepted !== null;
}
