import { type AuditEntry, type AuditFilter, listAudit } from '../workspaces/audit.ts';
import { audit } from './change-settings.ts';
import { csvFile } from './csv.ts';
import { AUDIT_SECTIONS, auditEntry } from './messages.ts';
import type { Download, Page, PageRequest } from './page.ts';

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
      const rows = await listAudit(request.sql, request.workspace.workspaceId, filter);
      await audit(request, 'audit_exported', { count: rows.length });
      return auditCsv(`audit-${request.workspace.workspaceId}.csv`, rows);
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
