import { overviewText } from '../i18n/sentences.ts';
import { button, clip, escapeMarkdown, type InboxCanvas, table, text } from '../intercom/canvas.ts';
import { type CardAnswer, type CardContext, withFormState } from './context.ts';
import { type CustomerContext, loadCustomer } from './customer.ts';
import { details } from './details.ts';
import { home } from './home.ts';
import { auditLink, type LinkReview, removeLink, reviewLink, storeLink } from './links.ts';
import { overview } from './overview.ts';
import { searchForm } from './search.ts';

/** A customer found by the contact's link or external id needs no confirmation; any other does. */
export async function choose(context: CardContext, subscriberId: string): Promise<CardAnswer> {
  const { formState, candidates } = context;
  const candidate = candidates.find((each) => each.subscriberId === subscriberId);
  if (!candidate) return reviewCanvas(context, await reviewLink(context, subscriberId));
  const chosen = withFormState(context, { ...formState, chosen: subscriberId });
  return home({ ...chosen, customer: await loadCustomer(context.app, candidate) });
}

/** @param problem why the review is shown again */
function reviewCanvas(
  context: CardContext,
  review: LinkReview,
  problem?: 'changed' | 'expired',
): InboxCanvas {
  const { messages: m, projects } = context;
  if (!review) return context.page([text(m.t('card.state.notFound'), 'muted'), searchForm(context, null)]);
  const { customer, canLink, replaces, isElsewhere, foundBy, fingerprint } = review;
  const elsewhere = isElsewhere ? 'elsewhere' : null;
  const { subscriberId, email } = customer;
  return context.page(
    [
      text(m.t('match.title.review'), 'header'),
      problem && text(m.t(`match.state.${problem}`), 'error'),
      text(escapeMarkdown(clip(overviewText(m, customer.description), 500))),
      table([
        [m.t('card.label.appUserId'), customer.appUserId],
        [m.t('card.label.email'), email],
        [m.t('card.label.project'), projects.length > 1 ? customer.project.name : null],
      ]),
      replaces !== null && text(m.t('match.state.replaces', { customer: escapeMarkdown(replaces) }), 'muted'),
      text(
        canLink ? m.t('match.state.linkExplained', { elsewhere }) : m.t('match.state.showExplained'),
        'muted',
      ),
      button('match.confirm', m.t(canLink ? 'match.button.link' : 'match.button.show'), 'primary'),
    ],
    { match: { subscriberId, foundBy, fingerprint } },
  );
}

/** Saves the reviewed link with who confirmed it, and sends the events that waited for a contact. */
export async function link(context: CardContext): Promise<CardAnswer> {
  const { app, messages: m } = context;
  const reviewed = context.formState.match;
  if (!reviewed) return context.page([text(m.t('card.state.outdated'), 'error')]);
  const { subscriberId, foundBy } = reviewed;
  const current = await reviewLink(context, subscriberId);
  if (!current) {
    const refused = { action: 'link', subscriberId: null, details: { found_by: foundBy }, result: 'refused' };
    await auditLink(context, app.database, refused);
    return context.page([text(m.t('card.state.notFound'), 'muted')]);
  }
  if (context.isOutdated) return reviewCanvas(context, current, 'expired');
  if (current.fingerprint !== reviewed.fingerprint) return reviewCanvas(context, current, 'changed');
  const { customer } = current;
  const chosen = { ...withFormState(context, { chosen: subscriberId }), customer };
  const about = { app_user_id: customer.appUserId, found_by: foundBy };
  if (!current.canLink) {
    await auditLink(context, app.database, { action: 'look', subscriberId, details: about, result: 'done' });
    return overview(chosen);
  }
  if (!(await storeLink(chosen, current.linkedId, about)))
    return reviewCanvas(context, await reviewLink(context, subscriberId), 'changed');
  return chosen.page([
    text(m.t('match.state.linked', { customer: escapeMarkdown(customer.appUserId) })),
    button('timeline', m.t('card.button.timeline'), 'secondary'),
  ]);
}

/** Removes the customer's link. */
export async function unlink(context: CustomerContext): Promise<CardAnswer> {
  const { customer, formState, isOutdated, messages: m } = context;
  const { subscriberId, link: shown } = customer;
  if (shown === null) return context.page([text(m.t('card.state.notFound'), 'muted')]);
  if (formState.unlink !== subscriberId || isOutdated) return details(context);
  await removeLink(context);
  return withFormState(context, {}).page(
    [
      text(m.t('match.state.unlinked', { customer: escapeMarkdown(customer.appUserId) })),
      button(`match:${subscriberId}`, m.t('match.button.linkAgain'), 'secondary'),
    ],
    { foundBy: { [subscriberId]: 'earlier_link' } },
  );
}
