import { overviewText } from '../i18n/sentences.ts';
import {
  button,
  type Component,
  clip,
  componentsOf,
  escapeMarkdown,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  type Part,
  table,
  text,
} from '../intercom/canvas.ts';
import { canReadCustomers, missingToReadCustomers } from '../workspaces/revenuecat-key.ts';
import { andMore, type CardContext, type CustomerContext, firstCanvas } from './context.ts';
import type { FormState } from './form-state.ts';
import { estimatedHeight, MAX_FIRST_CANVAS_PX } from './height.ts';
import type { LinkReview } from './linking.ts';
import { MAX_FOUND, type PossibleCustomer, type SearchResult, type Suggestions } from './matching.ts';

/** Shown for a contact without a certain match: who it may be, and a search. */
export function unmatchedCanvas(
  context: CardContext,
  { mentioned, unknownId, possible }: Suggestions,
): InboxCanvas {
  const { messages: m } = context;
  const form = searchForm(context, unknownId);
  const mentionedParts = mentioned.length > 0 && [
    text(m.t('match.state.mentioned'), 'muted'),
    foundList(context, mentioned),
  ];
  if (possible.length === 0) {
    const intro = mentionedParts || text(noMatchText(context), 'muted');
    return firstCanvas(context, [intro, form], listState(mentioned));
  }
  const asked = text(m.t('match.state.possible', { count: possible.length }), 'muted');
  const draw = (max: number): Part[] => [mentionedParts, asked, foundList(context, possible, max), form];
  const parts = fitFirstCanvas(draw, Math.min(possible.length, MAX_FOUND), 1);
  return firstCanvas(context, parts, listState([...mentioned, ...possible]));
}

/** For the audit log of what is chosen from a list. */
function listState(listed: readonly PossibleCustomer[]): FormState | undefined {
  if (listed.length === 0) return undefined;
  return { foundBy: Object.fromEntries(listed.map(({ subscriberId, foundBy }) => [subscriberId, foundBy])) };
}

/** The canvas with as many entries as a first canvas has room for. */
function fitFirstCanvas(draw: (max: number) => Part[], max: number, min: number): Part[] {
  let shown = max;
  while (shown > min && estimatedHeight(componentsOf(draw(shown))) > MAX_FIRST_CANVAS_PX) shown -= 1;
  return draw(shown);
}

function noMatchText({ messages: m, request: { contact } }: CardContext): string {
  if (contact.isMissing) return m.t('match.state.noContact');
  if (contact.isGone) return m.t('match.state.contactDeleted');
  return m.t(contact.isLead ? 'match.state.lead' : 'match.state.noMatch');
}

function searchForm({ messages: m }: CardContext, query: string | null): Component[] {
  return [
    {
      type: 'input',
      id: 'match.query',
      label: m.t('match.query'),
      placeholder: 'user_123',
      ...(query === null ? {} : { value: query }),
    },
    button('match.search', m.t('match.button.search'), 'secondary'),
  ];
}

/** The rest can be found by what is more exact than an e-mail. */
function foundList(context: CardContext, found: readonly PossibleCustomer[], max = MAX_FOUND): Part[] {
  return [
    list(found.slice(0, max).map((entry) => foundItem(context, entry))),
    andMore(context, found.length - max),
  ];
}

function foundItem({ projects, messages: m }: CardContext, found: PossibleCustomer): ListItem {
  const project = projects.find(({ projectId }) => projectId === found.projectId);
  const lastEvent =
    found.lastEventAtMs === null ? null : m.t('card.lastEvent', { date: m.date(found.lastEventAtMs) });
  const about = [found.email, projects.length > 1 ? project?.name : null, lastEvent];
  return item(`match:${found.subscriberId}`, found.appUserId, {
    subtitle: about.filter(Boolean).join(' · '),
  });
}

/** The search alone, for a contact that already has a customer. */
export function searchView(context: CardContext): InboxCanvas {
  const title = text(context.messages.t('match.title.search'), 'header');
  return context.page([title, searchForm(context, null)]);
}

export function searchResults(
  context: CardContext,
  query: string,
  { found, isImporting }: SearchResult,
): InboxCanvas {
  const { messages: m } = context;
  const form = searchForm(context, query);
  if (query === '') return context.page([text(m.t('match.state.emptySearch'), 'muted'), form]);
  if (found.length === 0) {
    const sentence = m.t(isImporting ? 'match.state.lookedUp' : 'match.state.nothingFound');
    return context.page([text(sentence, 'muted'), unsearchedText(context), form]);
  }
  return context.page(
    [text(m.t('match.state.found', { count: found.length }), 'muted'), foundList(context, found), form],
    listState(found.slice(0, MAX_FOUND)),
  );
}

/** Why RevenueCat was not asked, for at least one project. */
function unsearchedText({ messages: m, projects }: CardContext): Part {
  const unsearched = projects.filter((project) => !canReadCustomers(project));
  if (unsearched.length === 0) return false;
  if (unsearched.some(({ apiKeyState }) => apiKeyState === 'rejected'))
    return text(m.t('card.state.keyRejected'), 'muted');
  const scopes = [...new Set(unsearched.flatMap(missingToReadCustomers))];
  return text(
    scopes.length === 0
      ? m.t('card.state.noKey')
      : m.t('match.state.scopeMissing', { scopes: m.list(scopes) }),
    'muted',
  );
}

/** One customer in each of several projects, with what most tickets ask, so that often no press is needed. */
export function projectChoice(
  context: CardContext,
  customers: readonly CustomerContext['customer'][],
): InboxCanvas {
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
  return firstCanvas(context, fitFirstCanvas(draw, customers.length, 0));
}

/**
 * Shows the customer that the contact would be linked to, and asks.
 *
 * @param problem why the review is shown again
 */
export function linkReviewCanvas(
  context: CardContext,
  review: LinkReview | null,
  problem?: 'changed' | 'expired',
): InboxCanvas {
  const { messages: m, projects } = context;
  if (!review) return context.page([text(m.t('card.state.notFound'), 'muted'), searchForm(context, null)]);
  const { customer, canLink, replaces, foundBy, fingerprint } = review;
  const { subscriberId, email } = customer.subscriber;
  return context.page(
    [
      text(m.t('match.title.review'), 'header'),
      problem && text(m.t(`match.state.${problem}`), 'error'),
      text(escapeMarkdown(clip(overviewText(context.messages, customer.description), 500))),
      table([
        [m.t('card.label.appUserId'), customer.appUserId],
        [m.t('card.label.email'), email],
        [m.t('card.label.project'), projects.length > 1 ? customer.project.name : null],
      ]),
      replaces !== null && text(m.t('match.state.replaces', { customer: escapeMarkdown(replaces) }), 'muted'),
      text(m.t(canLink ? 'match.state.linkExplained' : 'match.state.showExplained'), 'muted'),
      button('match.confirm', m.t(canLink ? 'match.button.link' : 'match.button.show'), 'primary'),
    ],
    { match: { subscriberId, foundBy, fingerprint } },
  );
}

export function linkedCanvas(context: CustomerContext): InboxCanvas {
  const { messages: m, customer } = context;
  return context.page([
    text(m.t('match.state.linked', { customer: escapeMarkdown(customer.appUserId) })),
    button('timeline', m.t('card.button.timeline'), 'secondary'),
  ]);
}

export function unlinkedCanvas(context: CustomerContext): InboxCanvas {
  const { messages: m, customer } = context;
  const { subscriberId } = customer.subscriber;
  return context.page(
    [
      text(m.t('match.state.unlinked', { customer: escapeMarkdown(customer.appUserId) })),
      button(`match:${subscriberId}`, m.t('match.button.linkAgain'), 'secondary'),
    ],
    { foundBy: { [subscriberId]: 'earlier_link' } },
  );
}
