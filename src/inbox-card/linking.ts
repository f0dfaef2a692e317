import { hash } from 'node:crypto';
import { queueContactClear } from '../contacts/jobs.ts';
import {
  deleteLink,
  lockLinks,
  readAttributesStatus,
  readLinkedId,
  rewriteContactAttributes,
  saveLink,
  unassignContact,
  wakeForContact,
} from '../contacts/repository.ts';
import type { Transaction } from '../database/sql.ts';
import { overviewText } from '../i18n/sentences.ts';
import { button, clip, escapeMarkdown, type InboxCanvas, table, text } from '../intercom/canvas.ts';
import { lockSubscriber, readSubscriber } from '../subscribers/repository.ts';
import { isUuid } from '../text.ts';
import { type AuditRecord, writeAudit } from '../workspaces/audit.ts';
import { type CardAnswer, type CardContext, type FoundBy, withFormState } from './context.ts';
import { type Customer, type CustomerContext, loadCustomer } from './customer.ts';
import { details } from './details.ts';
import { home } from './home.ts';
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

/** Any subscriber of this workspace; `null`: unknown. */
async function findCustomer(context: CardContext, subscriberId: string): Promise<Customer | null> {
  if (!isUuid(subscriberId)) return null;
  const { app, request } = context;
  const record = await app.cards.readSubscriber(request.workspaceId, subscriberId);
  const [candidate] = record?.candidates ?? [];
  return candidate ? loadCustomer(app, candidate) : null;
}

type LinkReview = Awaited<ReturnType<typeof reviewLink>>;

/** What linking a customer to the contact would do; `null`: the subscriber is unknown. */
async function reviewLink(context: CardContext, subscriberId: string) {
  const customer = await findCustomer(context, subscriberId);
  if (!customer) return null;
  const { app, request, formState } = context;
  const { contact, workspaceId } = request;
  const canLink = contact.id !== '' && !contact.isArchivedOrDeleted;
  const { projectId } = customer.project;
  const linkedId = canLink
    ? await readLinkedId(app.readDatabase, { workspaceId, contactId: contact.id, projectId })
    : null;
  const replaced =
    linkedId === null || linkedId === subscriberId ? null : await findCustomer(context, linkedId);
  const stored = canLink ? await readSubscriber(app.readDatabase, workspaceId, subscriberId) : null;
  const isElsewhere = stored !== null && stored.contactId !== null && stored.contactId !== contact.id;
  const foundBy: FoundBy = formState.foundBy?.[subscriberId] ?? formState.match?.foundBy ?? 'unknown';
  return {
    customer,
    /** A deleted contact gets no link: the teammate only sees the customer on this card. */
    canLink,
    linkedId,
    /** The app user id that the contact is linked to now. */
    replaces: replaced?.appUserId ?? null,
    /** The customer's events go to another contact now. */
    isElsewhere,
    foundBy,
    /** Changes when anything that the review shows of the customer or the link changes. */
    fingerprint: fingerprintOf(customer, { linkedId, isElsewhere }),
  };
}

function fingerprintOf(
  customer: Customer,
  { linkedId, isElsewhere }: { readonly linkedId: string | null; readonly isElsewhere: boolean },
): string {
  const { subscriberId, appUserId, appUserIds, email } = customer;
  const shown = JSON.stringify([
    subscriberId,
    appUserId,
    [...appUserIds].sort(),
    email,
    linkedId,
    isElsewhere,
  ]);
  return hash('sha256', shown, 'base64url');
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
    await audit(context, app.database, refused);
    return context.page([text(m.t('card.state.notFound'), 'muted')]);
  }
  if (context.isOutdated) return reviewCanvas(context, current, 'expired');
  if (current.fingerprint !== reviewed.fingerprint) return reviewCanvas(context, current, 'changed');
  const { customer } = current;
  const chosen = { ...withFormState(context, { chosen: subscriberId }), customer };
  const about = { app_user_id: customer.appUserId, found_by: foundBy };
  if (!current.canLink) {
    await audit(context, app.database, { action: 'look', subscriberId, details: about, result: 'done' });
    return overview(chosen);
  }
  if (!(await storeLink(chosen, current.linkedId, about)))
    return reviewCanvas(context, await reviewLink(context, subscriberId), 'changed');
  return chosen.page([
    text(m.t('match.state.linked', { customer: escapeMarkdown(customer.appUserId) })),
    button('timeline', m.t('card.button.timeline'), 'secondary'),
  ]);
}

/** @returns `false`: another teammate has linked the contact to another customer since the review */
async function storeLink(
  context: CustomerContext,
  reviewedId: string | null,
  about: Readonly<Record<string, unknown>>,
): Promise<boolean> {
  const { app, request, customer } = context;
  const { workspaceId, admin } = request;
  const contactId = request.contact.id;
  const { subscriberId } = customer;
  const { projectId } = customer.project;
  return app.database.transaction(async (sql) => {
    await lockLinks(sql, workspaceId, contactId);
    await lockSubscriber(sql, { workspaceId, subscriberId });
    const before = await readLinkedId(sql, { workspaceId, contactId, projectId });
    // A double click: the link is already saved.
    if (before === subscriberId) return true;
    if (before !== reviewedId) return false;
    // Previously linked customers look up their contact again. Until then the contact also counts as theirs, so that an
    // event of the new customer never has the same name and second as one of theirs.
    await wakeForContact(sql, workspaceId, { contactId, externalId: null, email: null });
    const status = await readAttributesStatus(sql, workspaceId, contactId);
    await rewriteContactAttributes(sql, workspaceId, contactId);
    const madeBy = { id: admin.id, name: admin.name };
    await saveLink(sql, { workspaceId, contactId, projectId, subscriberId, madeBy });
    // Only now the new customer is one of the contact's.
    await wakeForContact(sql, workspaceId, { contactId, externalId: null, email: null });
    // Clear the attributes: the new customer may have nothing to write, for example only sandbox events.
    if (status !== 'none') await queueContactClear(app.jobs, { workspaceId, contactId }, sql);
    await audit(context, sql, {
      action: 'link',
      subscriberId,
      details: { ...about, ...(before === null ? {} : { replaced: before }) },
      result: 'done',
    });
    return true;
  });
}

/** Removes a link; the contact is then matched as it would be without it. */
export async function unlink(context: CustomerContext): Promise<CardAnswer> {
  const { app, request, customer, formState, isOutdated, messages: m } = context;
  const { subscriberId, link: shown } = customer;
  if (shown === null) return context.page([text(m.t('card.state.notFound'), 'muted')]);
  if (formState.unlink !== subscriberId || isOutdated) return details(context);
  const { workspaceId, contact } = request;
  await app.database.transaction(async (sql) => {
    // Also wakes a subscriber whose delivery is in progress and has not stored its contact yet.
    await wakeForContact(sql, workspaceId, { contactId: contact.id, externalId: null, email: null });
    await unassignContact(sql, workspaceId, contact.id);
    await deleteLink(sql, { workspaceId, contactId: contact.id, subscriberId });
    // Without the link the contact may still belong to this customer, or to another.
    await queueContactClear(app.jobs, { workspaceId, contactId: contact.id }, sql);
    const about = { app_user_id: customer.appUserId };
    await audit(context, sql, { action: 'unlink', subscriberId, details: about, result: 'done' });
  });
  return withFormState(context, {}).page(
    [
      text(m.t('match.state.unlinked', { customer: escapeMarkdown(customer.appUserId) })),
      button(`match:${subscriberId}`, m.t('match.button.linkAgain'), 'secondary'),
    ],
    { foundBy: { [subscriberId]: 'earlier_link' } },
  );
}

async function audit(
  { request }: CardContext,
  sql: Transaction,
  record: Pick<AuditRecord, 'action' | 'subscriberId' | 'details' | 'result'>,
): Promise<void> {
  await writeAudit(sql, {
    workspaceId: request.workspaceId,
    actor: request.admin,
    conversationId: request.conversationId,
    contactId: request.contact.id || null,
    ...record,
  });
}
