import escapeHtml from 'escape-html';
import type { Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { type Messages, messagesFor } from '../i18n/messages.ts';
import { labeled } from '../i18n/sentences.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { isUuid, stripInvisible } from '../text.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { readWorkspace } from '../workspaces/repository.ts';
import { type Action, type NoteStep, nameOf } from './action.ts';
import { doneMessageKey, messageValuesOf } from './message-values.ts';
import { type ActionKey, readAction } from './repository.ts';

interface OpenNote {
  readonly step: NoteStep;
  readonly conversationId: string;
  readonly adminId: string;
  readonly createdAt: Date;
  /** An earlier attempt may have stored the note in Intercom. */
  readonly isRetry: boolean;
}

/** Stores a note to be sent; each step has at most one. */
export async function storeNote(
  sql: Sql,
  { workspaceId, actionId, subscriberId }: Action,
  { step, conversationId, adminId }: Pick<OpenNote, 'step' | 'conversationId' | 'adminId'>,
): Promise<void> {
  await sql.query(
    `insert into action_notes (workspace_id, action_id, subscriber_id, step, conversation_id, admin_id)
     values ($1, $2, $3, $4, $5, $6)
     on conflict (workspace_id, action_id, step) do nothing`,
    [workspaceId, actionId, subscriberId, step, conversationId, adminId],
  );
}

/** How often to check whether an admin has connected Intercom again. */
const DISCONNECTED_RETRY_SECONDS = 600;
/** An attempt that takes longer than this was cut off. */
const LEASE_SECONDS = 45;

/** Claims the notes of an action that no process is sending, oldest first. */
async function claimNotes(sql: Sql, { workspaceId, actionId }: ActionKey): Promise<OpenNote[]> {
  const notes = await sql.query<OpenNote>(
    `with open as (
       select action_id, step from action_notes
        where workspace_id = $1 and action_id = $2
          and (state = 'queued' or (state = 'sending' and attempted_at < now() - make_interval(secs => $3)))
          for update skip locked)
     update action_notes n set state = 'sending', attempted_at = now(), attempts = n.attempts + 1
       from open
      where n.action_id = open.action_id and n.step = open.step
        and n.workspace_id = $1
     returning n.step, n.conversation_id as "conversationId", n.admin_id as "adminId", n.created_at as "createdAt",
               n.attempts > 1 as "isRetry"`,
    [workspaceId, actionId, LEASE_SECONDS],
  );
  return notes.sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime());
}

/** Whether the action has a note in this state. `failed`: it could not be sent. */
export async function hasNote(
  sql: Sql,
  { workspaceId, actionId }: ActionKey,
  state: 'sending' | 'failed',
): Promise<boolean> {
  if (!isUuid(actionId)) return false;
  const found = await sql.query(
    `select 1 from action_notes where workspace_id = $1 and action_id = $2 and state = $3 limit 1`,
    [workspaceId, actionId, state],
  );
  return found.length > 0;
}

/**
 * Sends the open notes of an action, each as the teammate who took the step, and each once. Intercom accepts no
 * idempotency key, so a retry first searches the conversation for the note.
 *
 * @throws AppError when the job should be retried
 */
export async function sendNotes(app: AppContext, key: ActionKey): Promise<void> {
  const { database } = app;
  const workspace = await readWorkspace(database, key.workspaceId);
  const client = workspace && app.intercom(workspace);
  // Uninstalled: the notes wait for `action.resume`.
  if (!client) return;
  if (workspace.status !== 'connected') {
    await app.jobs.send('action.note', key, { afterSeconds: DISCONNECTED_RETRY_SECONDS });
    return;
  }
  // A process that is sending a note may have been killed: check again after its lease.
  if (await hasNote(database, key, 'sending'))
    await app.jobs.send('action.note', key, { afterSeconds: LEASE_SECONDS });
  const notes = await claimNotes(database, key);
  const action = notes.length > 0 && (await readAction(database, key));
  if (!action) return;
  // The whole team reads notes: they are in the workspace's language and time zone.
  const messages = messagesFor(workspace.settings.card.language ?? 'en', workspace.timezone);
  let retry: AppError | null = null;
  for (const note of notes) retry = (await sendNote({ app, client, messages }, action, note)) ?? retry;
  if (retry) throw retry;
}

/** `null`: sent, or given up. */
async function sendNote(
  { app, client, messages }: { app: AppContext; client: IntercomClient; messages: Messages },
  action: Action,
  note: OpenNote,
): Promise<AppError | null> {
  const { step, conversationId, adminId } = note;
  const { workspaceId, actionId } = action;
  const set = (state: 'queued' | 'sent' | 'failed'): Promise<unknown> =>
    app.database.query(
      `update action_notes set state = $4 where workspace_id = $1 and action_id = $2 and step = $3`,
      [workspaceId, actionId, step, state],
    );
  const html = noteHtml(action, step, messages);
  try {
    const inConversation = note.isRetry ? await client.listNotes(conversationId) : [];
    const isSent = inConversation.some((body) => lettersOf(body) === lettersOf(html));
    if (!isSent) await client.leaveNote({ conversationId, adminId, html });
    await set('sent');
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (['retry', 'wait_until', 'reauthorize'].includes(error.remedy.kind)) {
      await set('queued');
      return error;
    }
    // The conversation was deleted, or the plan lacks the API. The action is done and in the audit log.
    app.logger.warn({ err: error, workspaceId, actionId, step }, 'note not sent');
    await set('failed');
    return null;
  }
}

/** Intercom rewrites HTML, so only letters and digits are compared. Runs in linear time, even for `<a<a…`. */
export function lettersOf(html: string): string {
  return html.replaceAll(/<\/?[a-z][^<>]*>|&#?\w+;|[^\p{L}\p{N}]/gu, '');
}

/** The note's HTML, with everything that people wrote escaped. */
export function noteHtml(action: Action, step: NoteStep, messages: Messages): string {
  const [headline, ...others] = noteParagraphs(action, step, messages).map((paragraph) =>
    escapeHtml(stripInvisible(paragraph)).replaceAll('\n', '<br>'),
  );
  return [`<p><b>${headline}</b></p>`, ...others.map((each) => `<p>${each}</p>`)].join('');
}

function noteParagraphs(action: Action, step: NoteStep, messages: Messages): string[] {
  const { t } = messages;
  const { kind, decidedBy, actionId } = action;
  // If the grant itself did not fail, the failed step was its removal.
  const isFailedRemoval = kind === 'grant' && step === 'failed' && action.state !== 'failed';
  const isOfRemoval = isFailedRemoval || step === 'revoked';
  const isOfApproved = decidedBy && !isFailedRemoval && (step === 'confirmed' || step === 'failed');
  const key = step === 'confirmed' ? doneMessageKey(action) : isFailedRemoval ? 'removalFailed' : step;
  const values = messageValuesOf(messages, action);
  const title = t(`action.title.${isFailedRemoval ? 'revoke' : kind}`);
  const requester = nameOf(action.admin);
  const reason = (isOfRemoval && action.kind === 'grant' ? action.revokeReason : action.reason)?.trim();
  // It is not known whether the action was done.
  const isUnknown = step === 'failed' && action.error === 'never_confirmed';
  return [
    isUnknown ? labeled(messages, title, String(values.name)) : t(`action.note.${key}`, values),
    isUnknown && t('action.failed.never_confirmed'),
    isOfApproved && t('action.note.people', { requester, approver: nameOf(decidedBy) }),
    step === 'declined' && t('action.note.requestedBy', { requester }),
    reason && t('action.note.reason', { reason }),
    t('action.note.reference', { kind, reference: actionId.slice(0, 8) }),
  ].filter((paragraph): paragraph is string => Boolean(paragraph));
}
