import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { isForever } from './ends.ts';
import { type GrantNote, type NoteStep, setNoteState, takeNotes } from './notes-store.ts';
import { readGrant } from './store.ts';
import type { Grant } from './types.ts';

/** What notes say, in the language of the workspace. Names and dates come as text, not yet escaped. */
export interface NoteWords {
  granted(entitlement: string, end: string | null): string;
  kept(entitlement: string, end: string): string;
  notMade(entitlement: string): string;
  asked(entitlement: string, end: string | null): string;
  declined(entitlement: string): string;
  revoked(entitlement: string): string;
  reason(reason: string): string;
  people(asked: string, approved: string): string;
  askedBy(name: string): string;
  reference(reference: string): string;
}

export interface NoteContext {
  readonly database: Database;
  readonly logger: Logger;
  readonly client: Pick<IntercomClient, 'leaveNote' | 'listNotes'>;
  readonly words: NoteWords;
  formatDate(atMs: number): string;
}

/**
 * Leaves the notes of a grant that are due, each as the teammate who took the step, and each once. Intercom takes
 * no idempotency key: after an attempt of unknown outcome the conversation is read, and the note found by the
 * grant's reference in it.
 *
 * @throws AppError when Intercom may take it later; the job is tried again
 */
export async function leaveGrantNotes(
  context: NoteContext,
  workspaceId: string,
  grantId: string,
): Promise<void> {
  const notes = await takeNotes(context.database, workspaceId, grantId);
  if (notes.length === 0) return;
  const grant = await readGrant(context.database, workspaceId, grantId);
  let later: AppError | null = null;
  for (const note of notes) {
    if (grant) later = (await leave(context, grant, note)) ?? later;
  }
  if (later) throw later;
}

/** `null`: left, or given up. */
async function leave(context: NoteContext, grant: Grant, note: GrantNote): Promise<AppError | null> {
  const { workspaceId, grantId } = grant;
  const set = (state: 'queued' | 'sending' | 'left' | 'failed', error: string | null = null): Promise<void> =>
    setNoteState(context.database, workspaceId, grantId, note.step, state, error);
  const html = noteHtml(grant, note.step, context.words, context.formatDate);
  let isSent = note.isDoubtful;
  try {
    if (note.isDoubtful && (await isThere(context, note.conversationId, html))) {
      await set('left');
      return null;
    }
    isSent = false;
    await context.client.leaveNote({ conversationId: note.conversationId, adminId: note.adminId, html });
    await set('left');
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    switch (error.remedy.kind) {
      case 'retry':
        // Intercom may have taken it.
        await set('sending', error.code);
        return error;
      case 'wait_until':
      case 'reauthorise':
        await set(isSent ? 'sending' : 'queued', error.code);
        return error;
      default:
        // A conversation that is gone, a plan without the API: the grant stands, the audit log has it.
        context.logger.warn({ err: error, workspaceId, grantId, step: note.step }, 'note not left');
        await set('failed', error.code);
        return null;
    }
  }
}

async function isThere(context: NoteContext, conversationId: string, html: string): Promise<boolean> {
  const wanted = plainText(html);
  const bodies = await context.client.listNotes(conversationId);
  return bodies.some((body) => plainText(body) === wanted);
}

/** Intercom writes HTML its own way: tags, entities and space are not compared. */
function plainText(html: string): string {
  return html
    .replaceAll(/<[^>]*>/g, '')
    .replaceAll(/&(amp|lt|gt|quot|#39|#x27|nbsp);/g, (entity) => ENTITIES[entity] ?? ' ')
    .replaceAll(/\s+/g, '');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
  '&#x27;': "'",
};

/** The note's HTML, with everything that people wrote escaped. */
export function noteHtml(
  grant: Grant,
  step: NoteStep,
  words: NoteWords,
  formatDate: (atMs: number) => string,
): string {
  const endMs = grant.realEndMs ?? grant.askedEndMs;
  const end = isForever(endMs) ? null : formatDate(endMs);
  const asker = grant.admin.name || grant.admin.id;
  const decider = grant.decidedBy && (grant.decidedBy.name || grant.decidedBy.id);
  const paragraphs = [headline(grant, step, words, end, formatDate)];
  if (decider !== null && (step === 'granted' || step === 'not_made')) {
    paragraphs.push(words.people(asker, decider));
  } else if (step === 'declined') paragraphs.push(words.askedBy(asker));
  const reason = (step === 'revoked' ? grant.revokeReason : grant.reason).trim();
  if (reason !== '') paragraphs.push(words.reason(reason));
  paragraphs.push(words.reference(grant.grantId.slice(0, 8)));
  return paragraphs
    .map((paragraph, index) => {
      const escaped = escapeHtml(paragraph).replaceAll('\n', '<br>');
      return index === 0 ? `<p><b>${escaped}</b></p>` : `<p>${escaped}</p>`;
    })
    .join('');
}

function headline(
  grant: Grant,
  step: NoteStep,
  words: NoteWords,
  end: string | null,
  formatDate: (atMs: number) => string,
): string {
  const { entitlementName: name } = grant;
  switch (step) {
    case 'asked':
      return words.asked(name, isForever(grant.askedEndMs) ? null : formatDate(grant.askedEndMs));
    case 'declined':
      return words.declined(name);
    case 'not_made':
      return words.notMade(name);
    case 'revoked':
      return words.revoked(name);
    case 'granted':
      return grant.kept && end !== null ? words.kept(name, end) : words.granted(name, end);
  }
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
