import { forgetContact, wakeForContact } from '../contacts/contacts-store.ts';
import type { Sql } from '../database/sql.ts';
import { button, escapeMarkdown, type InboxCanvas, text } from '../intercom/canvas.ts';
import { deleteLink, saveLink } from '../subscribers/find-store.ts';
import { writeAudit } from '../workspaces/audit.ts';
import { type CardContext, type Customer, page } from './context.ts';
import { overview } from './overview.ts';
import { findCustomer } from './search.ts';
import { said } from './states.ts';
import { readLinkedId } from './store.ts';

/**
 * Saves the link that was reviewed, with who made it, and wakes what waited for it. A contact that is gone gets
 * no link: the teammate then sees the customer on this card only, and the audit log keeps that they looked.
 */
export async function matchConfirm(context: CardContext): Promise<InboxCanvas> {
  const { words, services, request, formState } = context;
  const wanted = formState.match;
  if (!wanted) return said(context, words.states.tampered, 'error');
  const customer = await findCustomer(context, wanted.subscriberId);
  if (!customer) {
    await audit(context, services.database, 'link', null, { found_by: wanted.foundBy }, 'refused');
    return said(context, words.states.gone);
  }
  const { contact, workspaceId, admin } = request;
  const { subscriberId } = customer.subscriber;
  const { projectId } = customer.project;
  const details = { app_user_id: customer.appUserId, found_by: wanted.foundBy };
  const chosen = { ...context, formState: { chosen: subscriberId } };
  if (contact.id === '' || contact.isGone) {
    await audit(context, services.database, 'look', subscriberId, details, 'done');
    return overview(chosen, customer);
  }
  await services.database.transaction(async (sql) => {
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
    await audit(context, sql, 'link', subscriberId, { ...details, ...replaced }, 'done');
  });
  return page(chosen, [text(words.linked(escapeMarkdown(customer.appUserId))), ...way(context)]);
}

function way(context: CardContext) {
  return [button('timeline', context.words.buttons.timeline, 'secondary')];
}

/** Takes a link away; what matches without it, matches again. */
export async function unlink(context: CardContext, customer: Customer): Promise<InboxCanvas> {
  const { services, request, words } = context;
  const { subscriberId } = customer.subscriber;
  const { workspaceId, contact } = request;
  if (customer.link === null) return said(context, words.states.gone);
  await services.database.transaction(async (sql) => {
    await deleteLink(sql, workspaceId, contact.id, subscriberId);
    await forgetContact(sql, workspaceId, contact.id);
    await audit(context, sql, 'unlink', subscriberId, { app_user_id: customer.appUserId }, 'done');
  });
  return page({ ...context, formState: {} }, [
    text(words.unlinked(escapeMarkdown(customer.appUserId))),
    button(`match:${subscriberId}`, words.buttons.linkAgain, 'secondary'),
  ]);
}

async function audit(
  context: CardContext,
  sql: Sql,
  action: 'link' | 'unlink' | 'look',
  subscriberId: string | null,
  details: Readonly<Record<string, unknown>>,
  result: 'done' | 'refused',
): Promise<void> {
  const { request } = context;
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
