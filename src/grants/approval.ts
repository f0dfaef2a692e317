import type { Sql } from '../database/sql.ts';
import { auditAction, scheduleNotes } from './confirmation.ts';
import type { AgentRequest } from './context.ts';
import { queueNote } from './notes.ts';
import { transition } from './repository.ts';
import type { Action } from './types.ts';

/** The audit record and the note of an action that waits for a second person; in the transaction that stores it. */
export async function recordApprovalRequest(sql: Sql, action: Action): Promise<void> {
  await auditAction(sql, action, { step: 'do', result: 'awaiting_approval' });
  await queueNote(sql, action, { step: 'requested', by: action.admin });
}

/**
 * Declines what another teammate requested, or withdraws one's own request.
 *
 * @returns `null`: it was decided before
 */
export async function declineOrWithdraw<A extends Action>(
  { context, admin, conversationId }: AgentRequest,
  action: A,
): Promise<A | null> {
  const isOwn = action.admin.id === admin.id;
  const moved = await context.database.transaction(async (sql) => {
    const declined = isOwn
      ? await transition(sql, action, { event: 'withdraw' })
      : await transition(sql, action, { event: 'decline', decidedBy: admin });
    if (!declined) return null;
    const step = isOwn ? 'withdraw' : 'decline';
    await auditAction(sql, declined, { step, result: declined.state, actor: admin, conversationId });
    if (!isOwn) await queueNote(sql, declined, { step: 'declined', by: admin });
    return declined;
  });
  if (moved && !isOwn) await scheduleNotes(context, moved);
  return moved;
}
