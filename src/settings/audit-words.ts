import { changesInWords } from './change-words.ts';
import type { AuditRow } from './store.ts';

const ACTION_WORDS: ReadonlyMap<string, string> = new Map([
  ['grant', 'Granted'],
  ['grant_approve', 'Approved a grant'],
  ['grant_decline', 'Declined a grant'],
  ['grant_withdraw', 'Withdrew a request'],
  ['revoke', 'Removed a grant'],
  ['link', 'Linked a contact'],
  ['unlink', 'Unlinked a contact'],
  ['look', 'Looked at a customer'],
  ['revenuecat_connected', 'Connected RevenueCat'],
  ['revenuecat_disconnected', 'Disconnected RevenueCat'],
  ['signing_secret_set', 'Set the signing secret'],
  ['signing_secret_removed', 'Removed the signing secret'],
  ['messenger_secret_set', 'Set the Messenger secret'],
  ['messenger_secret_removed', 'Removed the Messenger secret'],
  ['api_key_made', 'Made an API key'],
  ['api_key_revoked', 'Revoked an API key'],
  ['sandbox_setting_changed', 'Changed the sandbox setting'],
  ['customer_erased', 'Erased a customer'],
  ['events_changed', 'Changed event names'],
  ['contacts_changed', 'Changed contact settings'],
  ['grant_policy_changed', 'Changed the grant policy'],
  ['card_changed', 'Changed the inbox card'],
  ['access_changed', 'Changed who may change the settings'],
  ['attributes_made', 'Made contact attributes'],
  ['deliveries_replayed', 'Sent events again'],
  ['customer_exported', 'Exported a customer'],
  ['uninstalled', 'Uninstalled the app'],
]);

/** Parts of the audit log that can be looked at alone. */
export const auditSections = {
  grants: {
    label: 'Grants',
    actions: ['grant', 'grant_approve', 'grant_decline', 'grant_withdraw', 'revoke'],
  },
  matches: { label: 'Matching of contacts', actions: ['link', 'unlink', 'look'] },
  policy: { label: 'Grant policy', actions: ['grant_policy_changed'] },
  settings: {
    label: 'Settings and data',
    actions: [
      'revenuecat_connected',
      'revenuecat_disconnected',
      'signing_secret_set',
      'signing_secret_removed',
      'messenger_secret_set',
      'messenger_secret_removed',
      'api_key_made',
      'api_key_revoked',
      'sandbox_setting_changed',
      'events_changed',
      'contacts_changed',
      'grant_policy_changed',
      'card_changed',
      'access_changed',
      'attributes_made',
      'deliveries_replayed',
      'customer_exported',
      'customer_erased',
      'uninstalled',
    ],
  },
} as const;

export function isAuditSection(value: string): value is keyof typeof auditSections {
  return Object.hasOwn(auditSections, value);
}

const RESULT_WORDS: ReadonlyMap<string, string> = new Map([
  ['ok', 'Done'],
  ['done', 'Done'],
  ['confirmed', 'Confirmed by RevenueCat'],
  ['revoked', 'Confirmed by RevenueCat'],
  ['approved', 'Approved'],
  ['awaiting_approval', 'Waits for approval'],
  ['declined', 'Declined'],
  ['withdrawn', 'Withdrawn'],
  ['refused', 'Refused'],
  ['revenuecat_unauthorized', 'Failed: RevenueCat refuses the API key'],
  ['revenuecat_scope_missing', 'Failed: the API key may not do this'],
  ['revenuecat_not_found', 'Failed: unknown to RevenueCat'],
  ['revenuecat_conflict', 'Failed: the customer already has it'],
  ['revenuecat_rate_limited', 'Failed: RevenueCat asked to wait'],
  ['revenuecat_rejected', 'Failed: RevenueCat refused it'],
  ['revenuecat_ignored', 'Failed: RevenueCat did not do it'],
  ['revenuecat_unavailable', 'Failed: no answer from RevenueCat'],
  ['never_confirmed', 'Not known: RevenueCat was away for a day'],
]);

const REFUSAL_WORDS: ReadonlyMap<string, string> = new Map([
  ['switched_off', 'granting is switched off'],
  ['not_allowed', 'this teammate may not'],
  ['lifetime_not_allowed', 'lifetime is not allowed'],
  ['too_long', 'longer than allowed'],
  ['reason_missing', 'no reason was given'],
  ['reason_too_long', 'the reason is too long'],
  ['monthly_limit', 'the number for the month is used up'],
  ['same_person', 'nobody approves their own'],
  ['unconfirmed', 'another one is not confirmed yet'],
  ['no_effect', 'it would change nothing'],
  ['unknown_customer', 'unknown to RevenueCat'],
  ['no_customer_id', 'no ID that RevenueCat accepts'],
  ['no_key', 'no API key'],
  ['key_rejected', 'RevenueCat refuses the API key'],
  ['end_past', 'the end had passed'],
]);

/** What was tried and did not happen does not read as done. */
const ATTEMPT_WORDS: ReadonlyMap<string, string> = new Map([
  ['grant', 'Tried to grant'],
  ['grant_approve', 'Tried to approve a grant'],
  ['revoke', 'Tried to remove a grant'],
]);
const DONE_RESULTS = new Set(['confirmed', 'revoked', 'approved', 'ok', 'done']);

function actionWords(action: string, result: string): string {
  if (action === 'grant' && result === 'awaiting_approval') return 'Requested a grant';
  const attempt = DONE_RESULTS.has(result) ? undefined : ATTEMPT_WORDS.get(action);
  return attempt ?? ACTION_WORDS.get(action) ?? action;
}

const REFUSED = 'refused: ';

function resultWords(result: string): string {
  if (!result.startsWith(REFUSED)) return RESULT_WORDS.get(result) ?? result;
  const why = result.slice(REFUSED.length);
  return `Refused: ${REFUSAL_WORDS.get(why) ?? RESULT_WORDS.get(why)?.replace('Failed: ', '') ?? why}`;
}

/** One line of the log, in words. */
export function auditLine(row: AuditRow): object {
  const detail = (name: string): string => {
    const value = row.details[name];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  };
  const end = Date.parse(detail('actual_end') || detail('requested_end'));
  return {
    at: row.at,
    who: row.actor.name || row.actor.email || row.actor.id,
    action: actionWords(row.action, row.result),
    what: [
      detail('entitlement'),
      detail('duration').replaceAll('_', ' '),
      detail('project'),
      detail('count'),
      ...changesInWords(row.details.changes),
    ]
      .filter(Boolean)
      .join(', '),
    until: Number.isNaN(end) ? null : new Date(end),
    customer: detail('app_user_id'),
    conversation: row.conversationId ?? '',
    reason: detail('reason'),
    withWhom: row.action === 'grant_approve' ? detail('requested_by') : '',
    result: resultWords(row.result),
  };
}
