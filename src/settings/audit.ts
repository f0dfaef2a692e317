import { stringify } from 'csv-stringify/sync';
import { type AuditEntry, type AuditFilter, listAudit } from '../workspaces/audit.ts';
import { AUDIT_SECTIONS, auditEntry } from './messages.ts';
import type { Page, PageRequest } from './page.ts';
import { audit } from './settings-audit.ts';

const PAGE_SIZE = 50;
const MAX_CSV_ROWS = 10_000;
const MAX_PERSON_LENGTH = 200;

export const auditPage: Page = {
  path: '/audit',
  title: 'Audit log',
  view: 'audit',
  async load(request) {
    const filter = filterOf(request);
    const rows = await listAudit(request.sql, request.workspace.workspaceId, {
      ...filter,
      limit: PAGE_SIZE + 1,
    });
    const about = request.input('about');
    const query = new URLSearchParams({ who: filter.person, about });
    return {
      person: filter.person,
      about,
      sections: Object.entries(AUDIT_SECTIONS).map(([id, { label }]) => [id, label]),
      entries: rows.slice(0, PAGE_SIZE).map(auditEntry),
      isFiltered: filter.person !== '' || filter.actions !== null,
      csvQuery: String(query),
      next:
        rows.length > PAGE_SIZE
          ? `?${query}&${new URLSearchParams({ before: rows[PAGE_SIZE - 1]?.auditId ?? '' })}`
          : null,
    };
  },
  downloads: {
    '.csv': async (request) => {
      const filter = { ...filterOf(request), beforeId: null, limit: MAX_CSV_ROWS };
      const rows = await listAudit(request.sql, request.workspace.workspaceId, filter);
      await audit(request, 'audit_exported', { count: rows.length });
      return { name: `audit-${request.workspace.workspaceId}.csv`, type: 'text/csv', body: auditCsv(rows) };
    },
  },
};

function filterOf(request: PageRequest): AuditFilter {
  const about = request.input('about');
  const before = request.input('before');
  const section = Object.hasOwn(AUDIT_SECTIONS, about) ? AUDIT_SECTIONS[about] : undefined;
  return {
    person: request.input('who').slice(0, MAX_PERSON_LENGTH),
    actions: section ? Object.keys(section.actions) : null,
    beforeId: /^\d{1,18}$/.test(before) ? before : null,
  };
}

/** RFC 4180, times in UTC. */
export function auditCsv(rows: readonly AuditEntry[]): string {
  const lines = rows.map((row) => ({
    at: row.at.toISOString(),
    who: row.actor.name,
    email: row.actor.email ?? '',
    action: row.action,
    result: row.result,
    customer: typeof row.details.app_user_id === 'string' ? row.details.app_user_id : '',
    conversation: row.conversationId ?? '',
    contact: row.contactId ?? '',
    details: JSON.stringify(row.details),
  }));
  return stringify(lines, {
    header: true,
    columns: ['at', 'who', 'email', 'action', 'result', 'customer', 'conversation', 'contact', 'details'],
    record_delimiter: 'windows',
    cast: { string: (value, { header }) => (header ? value : withoutFormula(value)) },
  });
}

/**
 * A spreadsheet runs a cell that begins like a formula, also after white space or a separator, and in full-width
 * characters: an apostrophe makes it a text. csv-stringify's `escape_formulas` knows neither of these.
 */
export function withoutFormula(value: string): string {
  return /^[\s;,"']*[=+\-@|%\t\r\n＝＋－＠]/.test(value) ? `'${value}` : value;
}
