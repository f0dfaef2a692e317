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
import { lockSubscriber, readSubscriber } from '../subscribers/repository.ts';
import { isUuid } from '../text.ts';
import { type AuditRecord, writeAudit } from '../workspaces/audit.ts';
import type { CardContext, FoundBy } from './context.ts';
import { type Customer, type CustomerContext, loadCustomer } from './customer.ts';

/** Any subscriber of this workspace; `null`: unknown. */
async function findCustomer(context: CardContext, subscriberId: string): Promise<Customer | null> {
  if (!isUuid(subscriberId)) return null;
  const { app, request } = context;
  const record = await app.cards.readSubscriber(request.workspaceId, subscriberId);
  const [candidate] = record?.candidates ?? [];
  return candidate ? loadCustomer(app, candidate) : null;
}

export type LinkReview = Awaited<ReturnType<typeof reviewLink>>;

/** What linking a customer to the contact would do; `null`: the subscriber is unknown. */
export async function reviewLink(context: CardContext, subscriberId: string) {
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

/** @returns `false`: another teammate has linked the contact to another customer since the review */
export async function storeLink(
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
    await auditLink(context, sql, {
      action: 'link',
      subscriberId,
      details: { ...about, ...(before === null ? {} : { replaced: before }) },
      result: 'done',
    });
    return true;
  });
}

/** Removes the customer's link; the contact is then matched as it would be without it. */
export async function removeLink(context: CustomerContext): Promise<void> {
  const { app, request, customer } = context;
  const { subscriberId } = customer;
  const { workspaceId, contact } = request;
  await app.database.transaction(async (sql) => {
    // Also wakes a subscriber whose delivery is in progress and has not stored its contact yet.
    await wakeForContact(sql, workspaceId, { contactId: contact.id, externalId: null, email: null });
    await unassignContact(sql, workspaceId, contact.id);
    await deleteLink(sql, { workspaceId, contactId: contact.id, subscriberId });
    // Without the link the contact may still belong to this customer, or to another.
    await queueContactClear(app.jobs, { workspaceId, contactId: contact.id }, sql);
    const about = { app_user_id: customer.appUserId };
    await auditLink(context, sql, { action: 'unlink', subscriberId, details: about, result: 'done' });
  });
}

/** Records what a teammate did about the contact's customer. */
export async function auditLink(
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
