import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { type Grant, readGrant, setNoteState } from './store.ts';

/** The note in the conversation: HTML, with everything that people wrote escaped. */
export function noteHtml(grant: Grant, end: string): string {
  const entitlement = escapeHtml(grant.lookupKey);
  const reason = grant.reason.trim() === '' ? '' : `<p>Reason: ${escapeHtml(grant.reason.trim())}</p>`;
  return grant.state === 'revoked'
    ? `<p><b>Removed the grant of ${entitlement}</b>.</p>`
    : `<p><b>Granted ${entitlement}</b> until ${escapeHtml(end)}.</p>${reason}`;
}

function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replaceAll(/[&<>"']/g, (char) => entities[char] ?? char);
}

/**
 * Leaves the note as the teammate who confirmed.
 *
 * @throws AppError when Intercom may take it later; the job is tried again
 */
export async function leaveGrantNote(
  context: {
    database: Database;
    client: IntercomClient;
    formatDate(atMs: number): string;
  },
  workspaceId: string,
  grantId: string,
): Promise<void> {
  const grant = await readGrant(context.database, workspaceId, grantId);
  if (!grant || grant.conversationId === null) return;
  const html = noteHtml(grant, context.formatDate(grant.realEndMs ?? grant.askedEndMs));
  try {
    await context.client.leaveNote({ conversationId: grant.conversationId, adminId: grant.admin.id, html });
    await setNoteState(context.database, workspaceId, grantId, 'left');
  } catch (error) {
    if (!(error instanceof AppError) || error.remedy.kind === 'retry' || error.remedy.kind === 'wait_until')
      throw error;
    // A conversation that is gone, a plan without the API: the grant stands, the audit log has it.
    await setNoteState(context.database, workspaceId, grantId, 'failed');
  }
}
