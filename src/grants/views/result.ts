import { button, type Component, type InboxCanvas, table, text } from '../../intercom/canvas.ts';
import { isForever, isSameEnd } from '../ends.ts';
import { readNoteStates } from '../notes-store.ts';
import { sendNotes, sendSettling } from '../reconcile.ts';
import type { Grant } from '../types.ts';
import { type Customer, page, type Visit } from './context.ts';
import { endWord, exactEnd, failureText, shownName, wordsOf } from './said.ts';

const STALE_MS = 60_000;

/**
 * How a grant stands, with what can be done about it.
 *
 * @param options.isFresh it was made just now: the customer is to be told
 */
export async function grantResult(
  visit: Visit,
  customer: Customer,
  grant: Grant,
  options: { isFresh?: boolean } = {},
): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const { buttons, states } = words;
  const name = shownName(grant.entitlementName);
  switch (grant.state) {
    case 'awaiting_approval':
      return page(visit, [
        text(words.awaitingOwn(name)),
        ...facts(visit, grant),
        button('grants', buttons.grants, 'secondary'),
      ]);
    case 'declined':
    case 'withdrawn':
      return page(visit, [
        text(grant.state === 'declined' ? words.declined(name) : words.withdrawn(name)),
        ...facts(visit, grant),
        button('grants', buttons.grants, 'secondary'),
      ]);
    case 'failed':
      return page(visit, [
        text(failureText(visit, grant.error), 'error'),
        ...facts(visit, grant),
        button('grant', buttons.again, 'secondary'),
      ]);
    case 'requested':
    case 'revoking': {
      await wake(visit, grant);
      const sentence = grant.state === 'requested' ? states.pending : states.revokePending;
      return page(visit, [
        text(sentence, 'muted'),
        ...facts(visit, grant),
        button(`grant:${grant.grantId}`, buttons.lookAgain, 'secondary'),
      ]);
    }
    case 'revoked':
      return page(visit, [
        text(words.revoked(name)),
        ...(await noteProblem(visit, grant)),
        ...facts(visit, grant),
        button('grants', buttons.grants, 'secondary'),
      ]);
    case 'confirmed':
      return confirmed(visit, customer, grant, options.isFresh ?? false);
  }
}

async function confirmed(
  visit: Visit,
  customer: Customer,
  grant: Grant,
  isFresh: boolean,
): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const name = shownName(grant.entitlementName);
  const realEndMs = grant.realEndMs ?? grant.askedEndMs;
  const end = exactEnd(visit, realEndMs);
  if (!isForever(realEndMs) && realEndMs <= visit.services.now()) {
    return page(visit, [
      text(words.ended(name, end ?? '')),
      ...facts(visit, grant),
      button('grants', words.buttons.grants, 'secondary'),
    ]);
  }
  const hasOtherEnd = !isSameEnd(realEndMs, grant.askedEndMs);
  const canExtend = !isForever(realEndMs) && customer.project.apiKey !== null;
  const components: Component[] = [
    grant.kept ? text(words.kept(endWord(visit, realEndMs)), 'error') : text(words.granted(name, end)),
    ...(hasOtherEnd && !grant.kept ? [text(words.otherEnd(endWord(visit, grant.askedEndMs)), 'muted')] : []),
    ...(grant.kept
      ? []
      : [
          {
            type: 'textarea' as const,
            id: 'grant.tell',
            label: words.labels.tell,
            value: words.tellCustomer(grant.entitlementName, end),
          },
        ]),
    ...(await noteProblem(visit, grant)),
    ...facts(visit, grant),
    ...(isFresh ? [button('grants', words.buttons.grants, 'secondary')] : []),
    ...(canExtend ? [button(`extend:${grant.grantId}`, words.buttons.extend, 'secondary')] : []),
    button(`revoke:${grant.grantId}`, words.buttons.revoke, 'secondary'),
  ];
  return page(visit, components);
}

/** Who, until when, why; and who else had a part in it. */
export function facts(visit: Visit, grant: Grant): Component[] {
  const { labels } = wordsOf(visit);
  const { state } = grant;
  const isMade = state === 'confirmed' || state === 'revoking' || state === 'revoked';
  const wasAsked = grant.decidedBy !== null || !isMade;
  const endMs = grant.realEndMs ?? grant.askedEndMs;
  // Of what was removed or never made an end would be read as one that holds.
  const holds = state !== 'revoked' && state !== 'failed';
  const nameOf = (person: Grant['decidedBy']): string | null => person && (person.name || person.id);
  const isDeclined = grant.state === 'declined';
  return table([
    [labels.entitlement, grant.entitlementName],
    [labels.until, holds ? exactEnd(visit, endMs) : null],
    [visit.messages.t('card.label.ends'), holds && isForever(endMs) ? visit.messages.t('card.never') : null],
    [wasAsked ? labels.askedBy : labels.grantedBy, nameOf(grant.admin)],
    [isDeclined ? labels.declinedBy : labels.approvedBy, nameOf(grant.decidedBy)],
    [labels.on, visit.messages.dateTime(grant.createdAtMs)],
    [labels.reason, grant.reason],
    [labels.removedBy, grant.state === 'revoked' ? nameOf(grant.revokedBy) : null],
    [labels.reason, grant.state === 'revoked' ? grant.revokeReason : null],
    [labels.customer, grant.appUserId],
  ]);
}

/** Somebody looks at a grant that waits: a job that was lost is queued again. */
async function wake(visit: Visit, grant: Grant): Promise<void> {
  const sinceMs = visit.services.now() - (grant.revokeAskedAtMs ?? grant.askedAtMs ?? grant.createdAtMs);
  if (sinceMs > STALE_MS) await sendSettling(visit.services.jobs, grant, 0);
}

async function noteProblem(visit: Visit, grant: Grant): Promise<Component[]> {
  const { services: context } = visit;
  const states = await readNoteStates(context.database, grant.workspaceId, grant.grantId);
  const settledMs = grant.revokedAtMs ?? grant.createdAtMs;
  if (states.includes('queued') && context.now() - settledMs > STALE_MS) {
    await sendNotes(context.jobs, grant);
  }
  return states.includes('failed') ? [text(wordsOf(visit).states.noteFailed, 'muted')] : [];
}
