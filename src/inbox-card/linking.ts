import { createHash } from 'node:crypto';
import {
  deleteLink,
  readLinkedId,
  saveLink,
  unassignContact,
  wakeForContact,
} from '../contacts/repository.ts';
import type { Transaction } from '../database/sql.ts';
import { lockSubscriber } from '../subscribers/repository.ts';
import { isUuid } from '../text.ts';
import { writeAudit } from '../workspaces/audit.ts';
import type { CardContext, CustomerContext } from './context.ts';
import { type Customer, loadCustomer } from './customer.ts';
import type { FoundBy } from './form-state.ts';

/** Any subscriber of this workspace; `null`: unknown. */
async function findCustomer(context: CardContext, subscriberId: string): Promise<Customer | null> {
  if (!isUuid(subscriberId)) return null;
  const { app, request } = context;
  const record = await app.cards.readSubscriber(request.workspaceId, subscriberId);
  const [candidate] = record?.candidates ?? [];
  return candidate ? loadCustomer(context, candidate) : null;
}

/** What linking a customer to the contact would do. */
export interface LinkReview {
  readonly customer: Customer;
  /** A deleted contact gets no link: the teammate only sees the customer on this card. */
  readonly canLink: boolean;
  /** The app user id that the contact is linked to now. */
  readonly replaces: string | null;
  readonly foundBy: FoundBy;
  /** Changes when anything that the review shows of the customer or the link changes. */
  readonly fingerprint: string;
}

/** `null`: the subscriber is unknown. */
export async function reviewLink(context: CardContext, subscriberId: string): Promise<LinkReview | null> {
  const customer = await findCustomer(context, subscriberId);
  if (!customer) return null;
  const { app, request, formState } = context;
  const { contact, workspaceId } = request;
  const canLink = contact.id !== '' && !contact.isGone;
  const { projectId } = customer.project;
  const linkedId = canLink
    ? await readLinkedId(app.readDatabase, { workspaceId, contactId: contact.id, projectId })
    : null;
  const replaced =
    linkedId === null || linkedId === subscriberId ? null : await findCustomer(context, linkedId);
  const foundBy = formState.foundBy?.[subscriberId] ?? formState.match?.foundBy ?? 'unknown';
  return {
    customer,
    canLink,
    replaces: replaced?.appUserId ?? null,
    foundBy,
    fingerprint: fingerprintOf(customer, linkedId),
  };
}

function fingerprintOf({ subscriber, appUserId }: Customer, linkedId: string | null): string {
  const { subscriberId, appUserIds, email } = subscriber;
  const shown = JSON.stringify([subscriberId, appUserId, [...appUserIds].sort(), email, linkedId]);
  return createHash('sha256').update(shown).digest('base64url');
}

type LinkResult =
  | { readonly kind: 'linked' | 'shown'; readonly customer: Customer }
  /** Nothing was linked: the review must be shown again. */
  | { readonly kind: 'changed' | 'expired'; readonly subscriberId: string }
  | { readonly kind: 'not_reviewed' | 'not_found' };

/** Saves the reviewed link with who confirmed it, and sends the events that waited for a contact. */
export async function confirmLink(context: CardContext): Promise<LinkResult> {
  const { app, request, formState } = context;
  const reviewed = formState.match;
  if (!reviewed) return { kind: 'not_reviewed' };
  const { subscriberId, foundBy } = reviewed;
  const now = await reviewLink(context, subscriberId);
  if (!now) {
    await audit(context, app.database, {
      action: 'link',
      subscriberId: null,
      details: { found_by: foundBy },
      result: 'refused',
    });
    return { kind: 'not_found' };
  }
  if (context.isOutdated) return { kind: 'expired', subscriberId };
  if (now.fingerprint !== reviewed.fingerprint) return { kind: 'changed', subscriberId };
  const { customer } = now;
  const details = { app_user_id: customer.appUserId, found_by: foundBy };
  if (!now.canLink) {
    await audit(context, app.database, { action: 'look', subscriberId, details, result: 'done' });
    return { kind: 'shown', customer };
  }
  const { contact, workspaceId, admin } = request;
  const { projectId } = customer.project;
  await app.database.transaction(async (sql) => {
    await lockSubscriber(sql, { workspaceId, subscriberId });
    const before = await readLinkedId(sql, { workspaceId, contactId: contact.id, projectId });
    await releaseContact(sql, workspaceId, contact.id);
    const madeBy = { id: admin.id, name: admin.name };
    await saveLink(sql, { workspaceId, contactId: contact.id, projectId, subscriberId, madeBy });
    await wakeForContact(sql, workspaceId, { contactId: contact.id, externalId: null, email: null });
    const replaced = before !== null && before !== subscriberId ? { replaced: before } : {};
    await audit(context, sql, {
      action: 'link',
      subscriberId,
      details: { ...details, ...replaced },
      result: 'done',
    });
  });
  return { kind: 'linked', customer };
}

/** Removes a link; the contact is then matched as it would be without it. */
export async function removeLink(
  context: CustomerContext,
): Promise<'removed' | 'not_linked' | 'not_reviewed'> {
  const { app, request, customer, formState, isOutdated } = context;
  const { subscriberId, link } = customer.subscriber;
  if (link === null) return 'not_linked';
  if (formState.unlink !== subscriberId || isOutdated) return 'not_reviewed';
  const { workspaceId, contact } = request;
  await app.database.transaction(async (sql) => {
    await releaseContact(sql, workspaceId, contact.id);
    await deleteLink(sql, { workspaceId, contactId: contact.id, subscriberId });
    await audit(context, sql, {
      action: 'unlink',
      subscriberId,
      details: { app_user_id: customer.appUserId },
      result: 'done',
    });
  });
  return 'removed';
}

/**
 * The linked subscriber looks up its contact again, before the link is removed or replaced; also one whose delivery is
 * in progress, which has not stored its contact yet.
 */
async function releaseContact(sql: Transaction, workspaceId: string, contactId: string): Promise<void> {
  await wakeForContact(sql, workspaceId, { contactId, externalId: null, email: null });
  await unassignContact(sql, workspaceId, contactId);
}

async function audit(
  { request }: CardContext,
  sql: Transaction,
  record: {
    readonly action: 'link' | 'unlink' | 'look';
    readonly subscriberId: string | null;
    readonly details: Readonly<Record<string, unknown>>;
    readonly result: 'done' | 'refused';
  },
): Promise<void> {
  await writeAudit(sql, {
    workspaceId: request.workspaceId,
    actor: request.admin,
    conversationId: request.conversationId,
    contactId: request.contact.id || null,
    ...record,
  });
}
