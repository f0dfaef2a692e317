import { writeAudit } from '../grants/audit.ts';
import type { SettingsContext, Visit } from './context.ts';

/** Records who changed what in the settings, beside the grants. */
export async function auditChange(
  context: Pick<SettingsContext, 'database'>,
  visit: Visit,
  action: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await writeAudit(context.database, {
    workspaceId: visit.workspace.workspaceId,
    actor: visit.session.admin,
    action,
    conversationId: null,
    contactId: null,
    subscriberId: null,
    details,
    result: 'ok',
  });
}
