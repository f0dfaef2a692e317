import type { Router } from 'express';
import { DURATIONS, type Duration, lengthInDays } from '../grants/durations.ts';
import { createIntercomClient, type IntercomAdmin, intercomApiUrl } from '../intercom/client.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { saveSettings, sealedAs, type Workspace } from '../workspaces/store.ts';
import { auditChange } from './audit.ts';
import { field, fields, parameter, type SettingsContext, visitOf } from './context.ts';
import { auditCsv } from './csv.ts';
import { sendPage } from './render.ts';
import { type AuditRow, listAudit } from './store.ts';

const AUDIT_PAGE = 50;
const MOST_CSV_ROWS = 10_000;
const TEAMMATES_TIMEOUT_MS = 3_000;

const DURATION_WORDS: Readonly<Record<Exclude<Duration, 'lifetime'>, string>> = {
  daily: 'One day',
  three_day: 'Three days',
  weekly: 'One week',
  two_week: 'Two weeks',
  monthly: 'One month',
  two_month: 'Two months',
  three_month: 'Three months',
  six_month: 'Six months',
  yearly: 'One year',
};

const LENGTHS: readonly (readonly [days: number, label: string])[] = DURATIONS.flatMap((duration) =>
  duration === 'lifetime' ? [] : [[lengthInDays(duration), DURATION_WORDS[duration]] as const],
);

export function addGrantPages(router: Router, context: SettingsContext): void {
  const { database } = context;

  /** `null` when Intercom cannot be asked: the page then shows the ids alone. */
  async function teammates(workspace: Workspace): Promise<IntercomAdmin[] | null> {
    if (workspace.accessToken === null) return null;
    try {
      const accessToken = context.secrets.open(
        workspace.accessToken,
        sealedAs.accessToken(workspace.workspaceId),
      );
      const apiUrl = intercomApiUrl(context.config.intercom.apiUrl, workspace.region);
      return await createIntercomClient({
        apiUrl,
        accessToken,
        timeoutMs: TEAMMATES_TIMEOUT_MS,
      }).listAdmins();
    } catch (error) {
      context.logger.warn({ err: error, workspaceId: workspace.workspaceId }, 'teammates not listed');
      return null;
    }
  }

  async function show(
    req: Parameters<typeof sendPage>[0],
    res: Parameters<typeof sendPage>[1],
    policy: WorkspaceSettings['grants'] | null,
    errors: readonly string[],
  ): Promise<void> {
    const visit = await visitOf(context, res);
    const { workspace } = visit;
    const shown = policy ?? workspace.settings.grants;
    const person = parameter(req, 'who').slice(0, 200);
    const before = parameter(req, 'before');
    const [admins, audit] = await Promise.all([
      teammates(workspace),
      listAudit(
        database,
        workspace.workspaceId,
        { person, beforeId: /^\d{1,18}$/.test(before) ? before : null },
        AUDIT_PAGE + 1,
      ),
    ]);
    const known = new Set(admins?.map((admin) => admin.id));
    const lengths = LENGTHS.some(([days]) => days === shown.longestDays)
      ? LENGTHS
      : [...LENGTHS, [shown.longestDays, `${shown.longestDays} days`] as const];
    sendPage(req, res, {
      view: 'grants',
      title: 'Grants',
      section: 'grants',
      visit,
      errors,
      data: {
        policy: shown,
        teammates: [
          ...(admins ?? []),
          // Somebody who left the team stays ticked until an admin takes the tick away.
          ...shown.allowedAdminIds
            .filter((id) => !known.has(id))
            .map((id) => ({ id, name: `Teammate ${id}`, email: '' })),
        ],
        teammatesUnknown: admins === null,
        lengths,
        person,
        audit: audit.slice(0, AUDIT_PAGE).map(auditLine),
        nextBefore: audit.length > AUDIT_PAGE ? audit[AUDIT_PAGE - 1]?.auditId : null,
      },
    });
  }

  router.get('/grants', (req, res) => show(req, res, null, []));

  router.post('/grants', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId, settings } = visit.workspace;
    const monthly = field(req, 'monthly_per_admin');
    const longest = Number(field(req, 'longest_days'));
    const policy: WorkspaceSettings['grants'] = {
      ...settings.grants,
      enabled: field(req, 'enabled') === 'on',
      allowedAdminIds: fields(req, 'allowed').filter((id) => /^[\w-]{1,64}$/.test(id)),
      longestDays:
        Number.isInteger(longest) && longest >= 1 && longest <= 36_500
          ? longest
          : settings.grants.longestDays,
      lifetimeAllowed: field(req, 'lifetime_allowed') === 'on',
      reasonRequired: field(req, 'reason_required') === 'on',
      monthlyPerAdmin: monthly === '' ? null : Number(monthly),
    };
    const limit = policy.monthlyPerAdmin;
    if (limit !== null && (!Number.isInteger(limit) || limit < 1 || limit > 100_000)) {
      await show(req, res, { ...policy, monthlyPerAdmin: settings.grants.monthlyPerAdmin }, [
        'Grants a month must be a whole number, 1 or more, or be left empty for no limit.',
      ]);
      return;
    }
    await saveSettings(database, workspaceId, 'grants', policy);
    await auditChange(context, visit, 'grant_policy_changed', policy);
    res.redirect(303, '/settings/grants?done=grants_saved');
  });

  router.get('/grants/audit.csv', async (req, res) => {
    const { workspace } = await visitOf(context, res);
    const person = parameter(req, 'who').slice(0, 200);
    const rows = await listAudit(database, workspace.workspaceId, { person, beforeId: null }, MOST_CSV_ROWS);
    res
      .set('Cache-Control', 'no-store')
      .type('text/csv')
      .attachment(`audit-${workspace.workspaceId}.csv`)
      .send(auditCsv(rows));
  });
}

const ACTION_WORDS: ReadonlyMap<string, string> = new Map([
  ['grant', 'Granted'],
  ['revoke', 'Revoked'],
  ['link', 'Linked a contact'],
  ['unlink', 'Unlinked a contact'],
  ['revenuecat_connected', 'Connected RevenueCat'],
  ['revenuecat_disconnected', 'Disconnected RevenueCat'],
  ['signing_secret_set', 'Set the signing secret'],
  ['signing_secret_removed', 'Removed the signing secret'],
  ['sandbox_setting_changed', 'Changed the sandbox setting'],
  ['customer_erased', 'Erased a customer'],
  ['events_changed', 'Changed event names'],
  ['contacts_changed', 'Changed contact settings'],
  ['grant_policy_changed', 'Changed the grant policy'],
]);

function auditLine(row: AuditRow): object {
  const detail = (name: string): string => {
    const value = row.details[name];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  };
  return {
    at: row.at,
    who: row.actor.name || row.actor.email || row.actor.id,
    action: ACTION_WORDS.get(row.action) ?? row.action,
    what: [detail('entitlement'), detail('duration').replaceAll('_', ' '), detail('project')]
      .filter(Boolean)
      .join(', '),
    customer: detail('app_user_id'),
    reason: detail('reason'),
    result: row.result,
  };
}
