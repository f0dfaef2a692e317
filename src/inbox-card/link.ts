import { forgetContact, wakeForContact } from '../contacts/contacts-store.ts';
import type { Sql } from '../database/sql.ts';
import { writeAudit } from '../grants/audit.ts';
import { button, escapeMarkdown, type InboxCanvas, text } from '../intercom/canvas.ts';
import { deleteLink, saveLink } from '../subscribers/find-store.ts';
import { type Customer, page, type Visit } from './context.ts';
import { overview } from './overview.ts';
import { findCustomer } from './search.ts';
import { said } from './states.ts';
import { readLinkedId } from './store.ts';

/**
 * Saves the link that was reviewed, with who made it, and wakes what waited for it. A contact that is gone gets
 * no link: the teammate then sees the customer on this card only, and the audit log keeps that they looked.
 */
export async function matchConfirm(visit: Visit): Promise<InboxCanvas> {
  const { words, context, request, formState } = visit;
  const wanted = formState.match;
  if (!wanted) return said(visit, words.states.tampered, 'error');
  const customer = await findCustomer(visit, wanted.subscriberId);
  if (!customer) {
    await audit(visit, context.database, 'link', null, { found_by: wanted.foundBy }, 'refused');
    return said(visit, words.states.gone);
  }
  const { contact, workspaceId, admin } = request;
  const { subscriberId } = customer.subscriber;
  const { projectId } = customer.project;
  const details = { app_user_id: customer.appUserId, found_by: wanted.foundBy };
  const chosen = { ...visit, formState: { chosen: subscriberId } };
  if (contact.id === '' || contact.isGone) {
    await audit(visit, context.database, 'look', subscriberId, details, 'done');
    return overview(chosen, customer);
  }
  await context.database.transaction(async (sql) => {
    const before = await readLinkedId(sql, workspaceId, contact.id, projectId);
    // The one that was linked until now must look for its contact anew, too.
    await forgetContact(sql, workspaceId, contact.id);
    await saveLink(sql, {
      workspaceId,
      contactId: contact.id,
      projectId,
      subscriberId,
      madeBy: { id: admin.id, name: admin.name },
    });
    await wakeForContact(sql, workspaceId, { contactId: contact.id, externalId: null, email: null });
    const replaced = before !== null && before !== subscriberId ? { replaced: before } : {};
    await audit(visit, sql, 'link', subscriberId, { ...details, ...replaced }, 'done');
  });
  return page(chosen, [text(words.linked(escapeMarkdown(customer.appUserId))), ...way(visit)]);
}

function way(visit: Visit) {
  return [button('timeline', visit.words.buttons.timeline, 'secondary')];
}

/** Takes a link away; what matches without it, matches again. */
export async function unlink(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { context, request, words } = visit;
  const { subscriberId } = customer.subscriber;
  const { workspaceId, contact } = request;
  if (customer.link === null) return said(visit, words.states.gone);
  await context.database.transaction(async (sql) => {
    await deleteLink(sql, workspaceId, contact.id, subscriberId);
    await forgetContact(sql, workspaceId, contact.id);
    await audit(visit, sql, 'unlink', subscriberId, { app_user_id: customer.appUserId }, 'done');
  });
  return page({ ...visit, formState: {} }, [
    text(words.unlinked(escapeMarkdown(customer.appUserId))),
    button(`match:${subscriberId}`, words.buttons.linkAgain, 'secondary'),
  ]);
}

async function audit(
  visit: Visit,
  sql: Sql,
  action: 'link' | 'unlink' | 'look',
  subscriberId: string | null,
  details: Readonly<Record<string, unknown>>,
  result: 'done' | 'refused',
): Promise<void> {
  const { request } = visit;
  await writeAudit(sql, {
    workspaceId: request.workspaceId,
    actor: request.admin,
    action,
    conversationId: request.conversationId,
    contactId: request.contact.id || null,
    subscriberId,
    details,
    result,
  });
}
