import type { Config } from '../config.ts';
import { type Database, queryRow, type Sql } from '../database/sql.ts';
import { readRejectedContacts } from '../delivery/replay.ts';
import { AppError, answerOrError } from '../errors.ts';
import { countFailedWebhooks, listFailedWebhooks } from '../ingestion/journal.ts';
import type { IntercomClient, IntercomDataAttribute } from '../intercom/client.ts';
import { attributeType } from '../intercom/data-attributes.ts';
import { CONTACT_ATTRIBUTES } from '../subscription/contact-values.ts';
import { plural } from '../text.ts';
import type { Workspace } from '../workspaces/repository.ts';
import { type CheckOutcome, type Checks, lowerFirst, ok, problem, warning } from './check.ts';

/** @throws AppError when Intercom rejects our access, or does not answer */
export async function tryIntercom(client: IntercomClient) {
  const me = await client.me();
  const attributes = await answerOrError(client.listDataAttributes());
  return { attributes, verifiesIdentity: me.app.identity_verification };
}

interface WorkspaceSubject {
  readonly config: Config;
  readonly database: Database;
  readonly workspace: Workspace;
  /** `null`: Intercom was not called, because it rejected the token before or no key decrypts the token. */
  readonly intercom: Awaited<ReturnType<typeof tryIntercom>> | AppError | null;
  readonly projectCount: number;
}

/** A delivery that has been due for longer than this is late, s. Normally it takes less than one. */
const MAX_DELIVERY_LAG_S = 120;
/** The daily job deletes webhooks that became too old since its last run. */
const RETENTION_SLACK_DAYS = 3;

export const WORKSPACE_CHECKS: Checks<WorkspaceSubject> = {
  intercom_token({ workspace, config, intercom }) {
    const reinstall = `An admin of ${workspace.name} must install the app again at ${config.publicUrl}/install. Waiting events are then delivered.`;
    if (workspace.status === 'disconnected')
      return problem(
        `Intercom rejects our access (${workspace.statusReason ?? 'unknown reason'}): deliveries wait.`,
        reinstall,
      );
    if (intercom === null)
      return problem(
        'The encryption keys do not decrypt the access token: deliveries wait.',
        `Add the key that encrypted it to ENCRYPTION_KEYS. Only if it is lost: ${lowerFirst(reinstall)}`,
      );
    if (!(intercom instanceof AppError)) return ok('Intercom accepts our access.');
    return isRejected(intercom) ? problem('Intercom rejects our access token.', reinstall) : null;
  },
  intercom_api({ intercom }) {
    if (!(intercom instanceof AppError) || isRejected(intercom)) return null;
    return problem(`The call to Intercom failed: ${intercom.message}.`, remedyFor(intercom.code));
  },
  intercom_refusal({ workspace: { status, refusals } }) {
    if (status !== 'connected') return null;
    return Object.entries(refusals).map(([work, { code, message, since }]) =>
      problem(`Intercom refuses the ${work} since ${since}, and they wait: ${message}`, remedyFor(code)),
    );
  },
  attributes: ({ intercom }) =>
    intercom === null || intercom instanceof AppError ? null : checkAttributes(intercom.attributes),
  identity_verification({ intercom }) {
    if (intercom === null || intercom instanceof AppError || intercom.verifiesIdentity !== false) return null;
    return warning(
      'Intercom does not enforce identity verification in the Messenger.',
      'Enforce it in Intercom under Settings › Channels › Messenger › Security. Until then the Messenger shows no subscription, unless an admin accepts that under Settings › Messenger and Fin.',
    );
  },
  async delivery_lag({ database, workspace }) {
    if (workspace.status !== 'connected') return null;
    const lagS = await readDeliveryLag(database, workspace.workspaceId);
    if (lagS <= MAX_DELIVERY_LAG_S) return ok('Deliveries to Intercom are on time.');
    return problem(
      `Deliveries to Intercom are late: the oldest has been due for ${Math.round(lagS / 60)} minutes.`,
      'See that a worker runs ("npm start", or "serve --role worker"). If one does, it cannot keep up: start another one, and see rate_used_ratio in /metrics for Intercom\'s limit.',
    );
  },
  async failed_deliveries({ database, workspace: { workspaceId } }) {
    const rows = await database.query<{ reason: string; count: string }>(
      `select coalesce(reason, 'unknown') as reason, count(*) as count
         from (select reason from event_deliveries where workspace_id = $1 and not_sent = 'failed' limit 100000) as failed
        group by 1 order by 2 desc`,
      [workspaceId],
    );
    const [most] = rows;
    if (!most) return ok('No delivery has failed.');
    const total = rows.reduce((sum, row) => sum + Number(row.count), 0);
    return problem(
      `${plural(total, 'event')} could not be delivered; most often: ${most.reason} (${most.count}).`,
      `Open Settings › Deliveries: each shows Intercom's response. When the cause is fixed, send them again there or with "npm run -s cli -- replay --workspace ${workspaceId} --failed".`,
    );
  },
  async rejected_contacts({ database, workspace: { workspaceId } }) {
    const { count, appUserId } = await readRejectedContacts(database, workspaceId);
    if (count === 0) return null;
    return problem(
      `Intercom rejects what is written to or looked up for the contacts of ${plural(count, 'customer')}, for example ${appUserId}.`,
      `Open one of the customer's events under Settings › Deliveries: it shows the attributes and Intercom's response. Correct what it names, for example the attribute's type in Intercom. They are tried again once a day, or now with "npm run -s cli -- replay --workspace ${workspaceId} --failed".`,
    );
  },
  async failed_webhooks({ database, workspace: { workspaceId } }) {
    const [newest] = await listFailedWebhooks(database, workspaceId, 1);
    if (!newest) return null;
    const failed = await countFailedWebhooks(database, workspaceId);
    return problem(
      `${plural(failed, 'webhook')} could not be interpreted, most recently ${newest.eventId}: ${newest.error}`,
      `Please report the error. After an upgrade that corrects it: "npm run -s cli -- reinterpret --workspace ${workspaceId}".`,
    );
  },
  async waiting({ database, workspace }) {
    const { waiting } = await queryRow<{ waiting: number }>(
      database,
      `select count(*)::integer as waiting from (select 1 from subscribers s
        where s.workspace_id = $1 and s.waiting limit 100000) as waiting_subscribers`,
      [workspace.workspaceId],
    );
    if (waiting === 0) return null;
    const customers = plural(waiting, 'customer has', 'customers have');
    return ok(`${customers} no Intercom contact yet; their events wait for one.`);
  },
  async retention({ database, workspace, config: { payloadRetentionDays: days } }) {
    if (days === null) return null;
    const overdue = await database.query(
      `select 1 from projects p
        cross join lateral (select received_at from webhooks
                             where workspace_id = $1 and project_id = p.project_id order by sequence limit 1) oldest
        where p.workspace_id = $1 and oldest.received_at < now() - make_interval(days => $2)`,
      [workspace.workspaceId, days + RETENTION_SLACK_DAYS],
    );
    if (overdue.length === 0) return ok(`Webhooks older than ${days} days are deleted.`);
    return warning(
      `Webhooks older than ${days} days have not been deleted.`,
      'A job runs at 03:47 UTC in a worker: see that one is running then, and search its log for "journal.prune".',
    );
  },
  projects: ({ projectCount, config, workspace }) =>
    projectCount > 0
      ? ok(`${plural(projectCount, 'RevenueCat project is', 'RevenueCat projects are')} connected.`)
      : problem(
          'No RevenueCat project is connected.',
          `Connect one at ${config.publicUrl}/settings/revenuecat, or with "npm run -s cli -- connect --workspace ${workspace.workspaceId} --project <proj…> --key <sk_…>".`,
        ),
};

const isRejected = ({ remedy }: AppError): boolean => remedy.kind === 'reauthorize';

function remedyFor(code: string): string {
  if (code === 'intercom_scope_missing')
    return 'Install the app again, and allow the permissions that it asks for. What waits is then delivered.';
  if (code === 'intercom_plan_restricted')
    return "The workspace's Intercom plan has ended or does not include this: an admin changes it there. What waits is then delivered.";
  return 'Try again in a minute. If it remains: check the connection to Intercom from here, and https://www.intercomstatus.com.';
}

function checkAttributes(listed: readonly IntercomDataAttribute[] | AppError): CheckOutcome[] {
  if (listed instanceof AppError)
    return [problem(`The contact attributes could not be listed: ${listed.message}`, remedyFor(listed.code))];
  const existing = new Map(
    listed.filter(({ archived }) => archived !== true).map((each) => [each.name, each]),
  );
  const names = CONTACT_ATTRIBUTES.map(({ name }) => name);
  const outcomes: CheckOutcome[] = [];
  const missing = names.filter((name) => !existing.has(name));
  if (missing.length > 0)
    outcomes.push(
      problem(
        `${missing.length} of ${names.length} contact attributes are missing or archived: ${missing.join(', ')}.`,
        'Open Settings › Contacts and press the button that creates missing attributes. If Intercom refuses a name, company data or an event uses it: rename that there.',
      ),
    );
  const mistyped = CONTACT_ATTRIBUTES.flatMap(({ name, dataType }) => {
    const found = existing.get(name);
    const type = found && attributeType(found);
    return type === undefined || type === dataType ? [] : [`${name} is ${type}, not ${dataType}`];
  });
  if (mistyped.length > 0)
    outcomes.push(
      warning(
        `Attributes have another type than ours: ${mistyped.join('; ')}. Values that do not fit are left out.`,
        'In Intercom, rename the attribute that was there before (its type cannot be changed), then press the button in Settings › Contacts.',
      ),
    );
  const open = names.filter((name) => existing.get(name)?.messenger_writable);
  if (open.length > 0)
    outcomes.push(
      warning(
        `Customers can give themselves a subscription: the Messenger may write ${open.join(', ')}.`,
        'Open Settings › Contacts and press the button that creates missing attributes: it closes these to the Messenger.',
      ),
    );
  return outcomes.length > 0 ? outcomes : [ok(`All ${names.length} contact attributes exist.`)];
}

/** Seconds; 0 while the workspace is held back by Intercom's rate limit. */
async function readDeliveryLag(sql: Sql, workspaceId: string): Promise<number> {
  const row = await queryRow<{ late_s: number | null; held_s: number | null }>(
    sql,
    `select (select extract(epoch from now() - s.due_at)::float8 from subscribers s
              where s.workspace_id = $1 and s.due_at <= now() order by s.due_at limit 1) as late_s,
            (select extract(epoch from w.not_before - now())::float8 from workspaces w
              where w.workspace_id = $1) as held_s`,
    [workspaceId],
  );
  return (row.held_s ?? 0) > 0 ? 0 : (row.late_s ?? 0);
}
