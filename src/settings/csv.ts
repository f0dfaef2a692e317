import type { AuditRow } from './store.ts';

const COLUMNS = [
  'at',
  'who',
  'email',
  'action',
  'result',
  'customer',
  'conversation',
  'contact',
  'details',
] as const;

/** The audit log as CSV (RFC 4180), times in UTC. */
export function auditCsv(rows: readonly AuditRow[]): string {
  const lines = rows.map((row) => [
    row.at.toISOString(),
    row.actor.name ?? '',
    row.actor.email ?? '',
    row.action,
    row.result,
    typeof row.details.app_user_id === 'string' ? row.details.app_user_id : '',
    row.conversationId ?? '',
    row.contactId ?? '',
    JSON.stringify(row.details),
  ]);
  return [COLUMNS, ...lines]
    .map((line) => line.map(cell).join(','))
    .join('\r\n')
    .concat('\r\n');
}

/** A cell that begins like a formula would be run by a spreadsheet: an apostrophe makes it a text. */
function cell(value: string): string {
  const harmless = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
