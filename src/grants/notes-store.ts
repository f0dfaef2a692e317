import type { Sql } from '../database/sql.ts';
import type { Grant } from './types.ts';

/** What a note tells of; each is left once. */
export type NoteStep = 'asked' | 'declined' | 'granted' | 'not_made' | 'revoked';

export type NoteState = 'queued' | 'sending' | 'left' | 'failed';

export interface GrantNote {
  readonly step: NoteStep;
  readonly conversationId: string;
  /** Whose note it is. */
  readonly adminId: string;
  /** An attempt was made before, of which it is not known whether Intercom took it. */
  readonly isDoubtful: boolean;
}

interface NoteRow {
  step: NoteStep;
  conversation_id: string;
  admin_id: string;
  was_sending: boolean;
}

/** Keeps, in the transaction that changes the grant, that a note is to be left. A second one for a step is none. */
export async function queueNote(
  sql: Sql,
  grant: Pick<Grant, 'workspaceId' | 'grantId' | 'subscriberId'>,
  note: { step: NoteStep; conversationId: string | null; adminId: string },
): Promise<void> {
  if (note.conversationId === null) return;
  await sql.query(
    `insert into grant_notes (workspace_id, grant_id, subscriber_id, step, conversation_id, admin_id)
     values ($1, $2, $3, $4, $5, $6)
     on conflict (workspace_id, grant_id, step) do nothing`,
    [grant.workspaceId, grant.grantId, grant.subscriberId, note.step, note.conversationId, note.adminId],
  );
}

/** An attempt that has not ended after this long was cut off, s. */
const LEASE_S = 45;

/** Takes the notes of a grant that nobody is sending, oldest first. */
export async function takeNotes(sql: Sql, workspaceId: string, grantId: string): Promise<GrantNote[]> {
  const rows = await sql.query<NoteRow & { created_at: Date }>(
    `with open as (
       select workspace_id, grant_id, step, state = 'sending' as was_sending from grant_notes
        where workspace_id = $1 and grant_id::text = $2
          and (state = 'queued' or (state = 'sending' and tried_at < now() - make_interval(secs => $3)))
          for update skip locked)
     update grant_notes n set state = 'sending', tried_at = now(), tries = n.tries + 1
       from open
      where n.workspace_id = open.workspace_id and n.grant_id = open.grant_id and n.step = open.step
     returning n.step, n.conversation_id, n.admin_id, n.created_at, open.was_sending`,
    [workspaceId, grantId, LEASE_S],
  );
  return rows
    .sort((a, b) => a.created_at.getTime() - b.created_at.getTime())
    .map((row) => ({
      step: row.step,
      conversationId: row.conversation_id,
      adminId: row.admin_id,
      isDoubtful: row.was_sending,
    }));
}

/**
 * @param state `queued`: certainly not left, to be tried again. `sending` with `error`: not known; the next
 *   attempt looks first.
 */
export async function setNoteState(
  sql: Sql,
  workspaceId: string,
  grantId: string,
  step: NoteStep,
  state: NoteState,
  error: string | null = null,
): Promise<void> {
  await sql.query(
    `update grant_notes
        set state = $4, error = $5, tried_at = case when $4 = 'sending' then 'epoch'::timestamptz else tried_at end
      where workspace_id = $1 and grant_id::text = $2 and step = $3`,
    [workspaceId, grantId, step, state, error],
  );
}

/** Whether a note of the grant could not be left, or waits. */
export async function readNoteStates(sql: Sql, workspaceId: string, grantId: string): Promise<NoteState[]> {
  const rows = await sql.query<{ state: NoteState }>(
    `select state from grant_notes where workspace_id = $1 and grant_id::text = $2`,
    [workspaceId, grantId],
  );
  return rows.map((row) => row.state);
}
