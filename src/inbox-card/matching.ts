import { overviewText } from '../i18n/sentences.ts';
import { clip, componentsOf, type InboxCanvas, item, list, type Part, text } from '../intercom/canvas.ts';
import { type FoundSubscriber, searchSubscribers } from '../subscribers/search.ts';
import { appUserIdInText } from '../subscription/app-user-id-in-text.ts';
import { isBlockedId } from '../subscription/identities.ts';
import type { Candidate, CardQuery } from './card-repository.ts';
import type { CardAnswer, CardContext, CustomerContext, FormState, Render } from './context.ts';
import { loadCustomer } from './customer.ts';
import { estimatedHeight, MAX_FIRST_CANVAS_PX } from './height.ts';
import type { CardRequest } from './request.ts';
import {
  foundList,
  importFromRevenueCat,
  listState,
  MAX_FOUND,
  type PossibleCustomer,
  searchForm,
} from './search.ts';

/** Which customer a card is about. */
type Match =
  | { readonly kind: 'one'; readonly candidate: Candidate }
  /** One in each of several projects, all of them by a link or the external id. */
  | { readonly kind: 'projects'; readonly candidates: readonly Candidate[] }
  | { readonly kind: 'possible'; readonly found: readonly FoundSubscriber[] };

/** What to read for a request. Misconfigured apps give a placeholder as external id to everyone. */
export function cardQuery(request: CardRequest, formState: FormState): CardQuery {
  const { id, externalId } = request.contact;
  const isUsable = externalId !== null && !isBlockedId(externalId);
  return { contactId: id, externalId: isUsable ? externalId : null, chosen: formState.chosen ?? null };
}

/**
 * By what the teammate chose, else by a saved link, else by `external_id`, else by e-mail where the workspace has
 * switched that on. Anyone with the app's public key can set an e-mail, so that is only a possible match.
 */
export async function matchContact({ candidates, request, workspace, app }: CardContext): Promise<Match> {
  const chosen = candidates.find(({ matchedBy }) => matchedBy === 'chosen');
  const candidate = chosen ?? candidates[0];
  if (candidate) {
    return chosen || candidates.length === 1 ? { kind: 'one', candidate } : { kind: 'projects', candidates };
  }
  const { email } = request.contact;
  if (email === null || !workspace.settings.contacts.matchByEmail) return { kind: 'possible', found: [] };
  const search = { text: email, fields: ['email'] } as const;
  return { kind: 'possible', found: await searchSubscribers(app.readDatabase, request.workspaceId, search) };
}

/** For a view of a known customer; any other contact gets the search instead. */
export function forCustomer(render: Render<CustomerContext>): Render<CardContext> {
  return async (context, argument) => {
    const match = await matchContact(context);
    const customer = match.kind === 'one' ? await loadCustomer(context, match.candidate) : null;
    return customer ? render({ ...context, customer }, argument) : answerWithoutCustomer(context, match);
  };
}

export function answerWithoutCustomer(context: CardContext, match: Match): Promise<CardAnswer> {
  return match.kind === 'projects'
    ? chooseAmong(context, match.candidates)
    : unmatched(context, match.kind === 'possible' ? match.found : []);
}

/** One customer in each of several projects, with what most tickets ask, so that often no press is needed. */
export async function chooseAmong(
  context: CardContext,
  candidates: readonly Candidate[],
): Promise<InboxCanvas> {
  const loaded = await Promise.all(
    candidates.slice(0, MAX_FOUND).map((candidate) => loadCustomer(context, candidate)),
  );
  const customers = loaded.filter((customer) => customer !== null);
  // Every project must be there to choose: where there is no room for all sentences, the last are left out.
  const draw = (max: number): Part[] => [
    text(context.messages.t('match.state.severalProjects'), 'muted'),
    list(
      customers.map((customer, index) =>
        item(
          `match:${customer.subscriber.subscriberId}`,
          clip(customer.project.name, 40),
          index < max ? { subtitle: overviewText(context.messages, customer.description) } : {},
        ),
      ),
    ),
  ];
  return context.page(fitFirstCanvas(draw, customers.length, 0));
}

/** Shown for a contact without a certain match: who it may be by the conversation and by e-mail, and a search. */
async function unmatched(context: CardContext, byEmail: readonly FoundSubscriber[]): Promise<InboxCanvas> {
  const { messages: m, request } = context;
  // An unknown customer may have subscribed long ago: the next card knows them.
  const { externalId } = request.contact;
  if (byEmail.length === 0 && externalId !== null) importFromRevenueCat(context, externalId);
  const { mentioned, unknownId } = await findMentioned(context);
  const possible = byEmail
    .filter(({ subscriberId }) => mentioned.every((each) => each.subscriberId !== subscriberId))
    .map((each): PossibleCustomer => ({ ...each, foundBy: 'possible_match' }));
  const form = searchForm(context, unknownId);
  const mentionedParts = mentioned.length > 0 && [
    text(m.t('match.state.mentioned'), 'muted'),
    foundList(context, mentioned),
  ];
  const formState = listState([...mentioned, ...possible]);
  if (possible.length === 0) {
    const intro = mentionedParts || text(noMatchText(context), 'muted');
    return context.page([intro, form], formState);
  }
  const asked = text(m.t('match.state.possible', { count: possible.length }), 'muted');
  const draw = (max: number): Part[] => [mentionedParts, asked, foundList(context, possible, max), form];
  return context.page(fitFirstCanvas(draw, Math.min(possible.length, MAX_FOUND), 1), formState);
}

/**
 * The subscriber whose app user id is in the conversation, where one is; an id that is unknown here goes into the
 * search.
 */
async function findMentioned({ request, app }: CardContext): Promise<{
  readonly mentioned: readonly PossibleCustomer[];
  readonly unknownId: string | null;
}> {
  const ids = request.conversationTexts().values().map(appUserIdInText);
  const appUserId = ids.find((id) => id !== null) ?? null;
  if (appUserId === null) return { mentioned: [], unknownId: null };
  const search = { text: appUserId, fields: ['app_user_id'] } as const;
  const [found] = await searchSubscribers(app.readDatabase, request.workspaceId, search);
  return found
    ? { mentioned: [{ ...found, appUserId, foundBy: 'conversation' }], unknownId: null }
    : { mentioned: [], unknownId: appUserId };
}

function noMatchText({ messages: m, request: { contact } }: CardContext): string {
  if (contact.isMissing) return m.t('match.state.noContact');
  if (contact.isGone) return m.t('match.state.contactDeleted');
  return m.t(contact.isLead ? 'match.state.lead' : 'match.state.noMatch');
}

/** The canvas with as many entries as a first canvas has room for. */
function fitFirstCanvas(draw: (max: number) => Part[], max: number, min: number): Part[] {
  let shown = max;
  while (shown > min && estimatedHeight(componentsOf(draw(shown))) > MAX_FIRST_CANVAS_PX) shown -= 1;
  return draw(shown);
}
