import { messagesFor } from '../i18n/messages.ts';
import { plural } from '../text.ts';
import { isForever } from '../time.ts';
import { type AuditEntry, type AuditFilter, listAudit } from '../workspaces/audit.ts';
import { displayName } from '../workspaces/repository.ts';
import { audit } from './change-settings.ts';
import { changesOf } from './changes.ts';
import { csvFile } from './csv.ts';
import { textFor } from './messages.ts';
import type { Download, Page, PageRequest } from './page.ts';
import texts from './texts.json' with { type: 'json' };

const PAGE_SIZE = 50;
const MAX_CSV_ROWS = 10_000;
const MAX_PERSON_LENGTH = 200;

/** Parts of the log that can be shown separately, with the texts of their actions. */
const SECTIONS: Readonly<
  Record<string, { readonly label: string; readonly actions: Readonly<Record<string, string>> }>
> = texts.auditSections;
const ACTIONS: Readonly<Record<string, string>> = Object.assign(
  {},
  ...Object.values(SECTIONS).map(({ actions }) => actions),
);

export const auditPage: Page = {
  path: '/audit',
  title: 'Audit log',
  async load(request) {
    const filter = filterOf(request);
    const rows = await listAudit(request.sql, request.workspaceId, {
      ...filter,
      limit: PAGE_SIZE + 1,
    });
    const about = request.input('about');
    const query = new URLSearchParams({ who: filter.person, about });
    return {
      person: filter.person,
      about,
      sections: Object.entries(SECTIONS).map(([id, { label }]) => [id, label]),
      entries: rows.slice(0, PAGE_SIZE).map(auditEntry),
      isFiltered: filter.person !== '' || filter.actions !== null,
      csvQuery: String(query),
      maxCsvRows: MAX_CSV_ROWS,
      next:
        rows.length > PAGE_SIZE
          ? `?${query}&${new URLSearchParams({ before: rows[PAGE_SIZE - 1]?.auditId ?? '' })}`
          : null,
    };
  },
  downloads: {
    '.csv': async (request) => {
      const filter = { ...filterOf(request), beforeId: null, limit: MAX_CSV_ROWS };
      const rows = await listAudit(request.sql, request.workspaceId, filter);
      await audit(request, 'audit_exported', { count: rows.length });
      return auditCsv(`audit-${request.workspaceId}.csv`, rows);
    },
  },
};

function filterOf(request: PageRequest): AuditFilter {
  const about = request.input('about');
  const before = request.input('before');
  const section = Object.hasOwn(SECTIONS, about) ? SECTIONS[about] : undefined;
  return {
    person: request.input('who').slice(0, MAX_PERSON_LENGTH),
    actions: section ? Object.keys(section.actions) : null,
    beforeId: /^\d{1,18}$/.test(before) ? before : null,
  };
}

/** Times in UTC. */
export function auditCsv(name: string, entries: readonly AuditEntry[]): Download {
  return csvFile(name, entries, {
    at: ({ at }) => at.toISOString(),
    who: ({ actor }) => actor.name,
    email: ({ actor }) => actor.email ?? '',
    action: ({ action }) => action,
    result: ({ result }) => result,
    customer: ({ details: { app_user_id: id } }) => (typeof id === 'string' ? id : ''),
    conversation: ({ conversationId }) => conversationId ?? '',
    contact: ({ contactId }) => contactId ?? '',
    details: ({ details }) => JSON.stringify(details),
  });
}

/** The texts that a page shows for an entry. */
export function auditEntry(row: AuditEntry) {
  const detail = (name: string): string => {
    const value = row.details[name];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  };
  const end = Date.parse(detail('actual_end') || detail('requested_end'));
  const requestedBy = row.action.endsWith('_approve') ? detail('requested_by') : '';
  const whats = [
    detail('entitlement'),
    detail('product'),
    amountText(row.details),
    countText(row.details.days, ['day']),
    // For a custom duration only the end is shown (`until`).
    detail('duration') === 'custom' ? '' : textFor(texts.durations, detail('duration')).toLowerCase(),
    detail('project'),
    detail('name'),
    countText(row.details.count, COUNTED[row.action] ?? ['customer']),
  ];
  return {
    at: row.at,
    who: displayName(row.actor),
    action: actionText(row.action, row.result) + (requestedBy ? ` of ${requestedBy}` : ''),
    what: whats.filter(Boolean).join(', '),
    changes: changesOf(row),
    until: Number.isNaN(end) || isForever(end) ? null : new Date(end),
    customer: detail('app_user_id'),
    conversation: row.conversationId ?? '',
    reason: detail('reason'),
    result: resultText(row.result),
  };
}

type Counted = readonly [one: string, many?: string];
const COUNTED: Readonly<Record<string, Counted>> = {
  audit_exported: ['entry', 'entries'],
  deliveries_replayed: ['event'],
};

function countText(count: unknown, counted: Counted): string {
  return typeof count === 'number' ? plural(count, ...counted) : '';
}

function amountText({ amount_minor: minor, currency }: AuditEntry['details']): string {
  if (typeof minor !== 'number' || typeof currency !== 'string') return '';
  return messagesFor('en').money({ amountMinor: minor, currency });
}

const DONE_RESULTS = ['confirmed', 'revoked', 'approved', 'declined', 'withdrawn', 'ok', 'done'];

/** The text of an action. One that was only requested or tried must not read as done. */
function actionText(action: string, result: string): string {
  if (DONE_RESULTS.includes(result)) return textFor(ACTIONS, action);
  const notDone = result === 'awaiting_approval' ? texts.requests : texts.attempts;
  return textFor({ ...ACTIONS, ...notDone }, action);
}

const REFUSED = 'refused: ';

function resultText(result: string): string {
  if (!result.startsWith(REFUSED)) return textFor(texts.results, result);
  const reason = textFor({ ...texts.results, ...texts.refusals }, result.slice(REFUSED.length));
  return `Refused: ${reason.replace('Failed: ', '')}`;
}
