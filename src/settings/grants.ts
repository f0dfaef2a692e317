import type { Router } from 'express';
import { DURATIONS, type Duration, lengthInDays } from '../grants/durations.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { changeSettings } from './audit.ts';
import { auditLine, auditSections, isAuditSection } from './audit-words.ts';
import { field, fields, pageSql, parameter, type SettingsContext, visitOf } from './context.ts';
import { auditCsv } from './csv.ts';
import { sendPage } from './render.ts';
import { listAudit } from './store.ts';
import { listTeammates } from './teammates.ts';

const AUDIT_PAGE = 50;
const MAX_CSV_ROWS = 10_000;
const MAX_DAYS = 36_500;
const MAX_MONTHLY = 100_000;

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

/** What was set otherwise than by the form stands among its choices. */
function withLength(
  lengths: typeof LENGTHS,
  days: number | null,
): readonly (readonly [days: number, label: string])[] {
  if (days === null || lengths.some(([known]) => known === days)) return lengths;
  return [...lengths, [days, days === 1 ? 'One day' : `${days} days`] as const].sort((a, b) => a[0] - b[0]);
}

export function addGrantPages(router: Router, context: SettingsContext): void {
  async function show(
    req: Parameters<typeof sendPage>[0],
    res: Parameters<typeof sendPage>[1],
    policy: WorkspaceSettings['grants'] | null,
    errors: readonly string[],
    typedMonthly?: string,
  ): Promise<void> {
    const visit = await visitOf(context, res);
    const { workspace } = visit;
    const shown = policy ?? workspace.settings.grants;
    const person = parameter(req, 'who').slice(0, 200);
    const about = parameter(req, 'about');
    const before = parameter(req, 'before');
    const sql = await pageSql(context);
    const [admins, audit] = await Promise.all([
      listTeammates(context, workspace),
      listAudit(
        sql,
        workspace.workspaceId,
        { person, actions: actionsOf(about), beforeId: /^\d{1,18}$/.test(before) ? before : null },
        AUDIT_PAGE + 1,
      ),
    ]);
    const known = new Set(admins?.map((admin) => admin.id));
    const lengths = withLength(LENGTHS, shown.longestDays);
    sendPage(req, res, {
      view: 'grants',
      title: 'Grants',
      section: 'grants',
      visit,
      errors,
      data: {
        policy: shown,
        monthly: typedMonthly ?? shown.monthlyPerAdmin ?? '',
        teammates: [
          ...(admins ?? []),
          // Somebody who left the team stays ticked until an admin takes the tick away.
          ...(shown.allowedAdminIds ?? [])
            .filter((id) => !known.has(id))
            .map((id) => ({ id, name: `Teammate ${id}`, email: '' })),
        ],
        teammatesUnknown: admins === null,
        lengths,
        secondLengths: withLength(LENGTHS, shown.secondPersonAboveDays),
        person,
        about: isAuditSection(about) ? about : '',
        sections: Object.entries(auditSections).map(([id, { label }]) => [id, label]),
        audit: audit.slice(0, AUDIT_PAGE).map(auditLine),
        nextBefore: audit.length > AUDIT_PAGE ? audit[AUDIT_PAGE - 1]?.auditId : null,
      },
    });
  }

  router.get('/grants', (req, res) => show(req, res, null, []));

  router.post('/grants', async (req, res) => {
    const visit = await visitOf(context, res);
    const { settings } = visit.workspace;
    const monthly = field(req, 'monthly_per_admin');
    const second = field(req, 'second_person');
    const longest = field(req, 'longest_days');
    const policy: WorkspaceSettings['grants'] = {
      ...settings.grants,
      enabled: field(req, 'enabled') === 'on',
      allowedAdminIds:
        fields(req, 'allowed').length === 0
          ? null
          : fields(req, 'allowed').filter((id) => /^[\w-]{1,64}$/.test(id)),
      longestDays: daysOf(longest) ?? settings.grants.longestDays,
      lifetimeAllowed: field(req, 'lifetime_allowed') === 'on',
      reasonRequired: field(req, 'reason_required') === 'on',
      monthlyPerAdmin: countOf(monthly),
      secondPersonAboveDays: daysOf(second),
    };
    const errors: string[] = [];
    // No name at all would let everybody grant.
    if (fields(req, 'allowed').length > 0 && policy.allowedAdminIds?.length === 0)
      errors.push('Choose the teammates who may grant from the list.');
    if (longest !== '' && daysOf(longest) === null) errors.push('Choose the longest grant from the list.');
    if (second !== '' && policy.secondPersonAboveDays === null)
      errors.push('Choose above which length a second teammate must approve, or never.');
    if (monthly !== '' && policy.monthlyPerAdmin === null)
      errors.push(
        `Grants a month must be a whole number from 1 to ${MAX_MONTHLY.toLocaleString('en-US')}, or be left empty for no limit.`,
      );
    if (errors.length > 0) return show(req, res, policy, errors, monthly);
    await changeSettings(context, visit, 'grants', policy, 'grant_policy_changed');
    res.redirect(303, '/settings/grants?done=grants_saved');
  });

  router.get('/grants/audit.csv', async (req, res) => {
    const { workspace } = await visitOf(context, res);
    const person = parameter(req, 'who').slice(0, 200);
    const actions = actionsOf(parameter(req, 'about'));
    const rows = await listAudit(
      await pageSql(context),
      workspace.workspaceId,
      { person, actions, beforeId: null },
      MAX_CSV_ROWS,
    );
    res
      .set('Cache-Control', 'no-store')
      .type('text/csv')
      .attachment(`audit-${workspace.workspaceId}.csv`)
      .send(auditCsv(rows));
  });
}

function actionsOf(about: string): readonly string[] | null {
  return isAuditSection(about) ? auditSections[about].actions : null;
}

/** `null`: no number of days, or none that can be meant. */
function daysOf(value: string): number | null {
  return wholeUpTo(value, MAX_DAYS);
}

/** `null`: no number of grants. */
function countOf(value: string): number | null {
  return wholeUpTo(value, MAX_MONTHLY);
}

function wholeUpTo(value: string, most: number): number | null {
  const number = /^\d{1,6}$/.test(value) ? Number(value) : 0;
  return number >= 1 && number <= most ? number : null;
}
