import { AppError } from '../errors.ts';
import type { WebhookRefusal } from '../ingestion/refused-webhooks.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { DAY_MS } from '../time.ts';
import type { Project } from '../workspaces/projects.ts';
import { checkApiKey, lacksPermission } from '../workspaces/revenuecat-key.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { type Finding, lowerFirst, ok, problem, warning } from './check-result.ts';

/** Some apps sell little: shorter silence says nothing. */
const SILENT_DAYS = 7;

/** @param client `null`: the project's key cannot be read */
export async function checkRevenueCat(
  project: Project,
  client: RevenueCatClient | null,
  setup: {
    publicUrl: string;
    isPublicUrlWrong: boolean;
    nowMs: number;
    settings: WorkspaceSettings;
    connectedAtMs: number;
    refusal: WebhookRefusal | null;
  },
): Promise<Finding[]> {
  const scope = { workspace: project.workspaceId, project: project.projectId };
  const received = checkReceived(project, setup);
  const settings = `${setup.publicUrl}/settings/revenuecat`;
  if (client === null) {
    const finding =
      project.apiKey === null
        ? warning(
            'revenuecat_key',
            `${project.name} has no API key: no grants, no refreshing, no import.`,
            `Paste a secret API key of version 2 at ${settings}.`,
            scope,
          )
        : problem(
            'revenuecat_key',
            `The API key of ${project.name} cannot be read.`,
            `Add the key that sealed it to ENCRYPTION_KEYS, or paste the API key again at ${settings}.`,
            scope,
          );
    return [finding, received];
  }
  const check = await checkApiKey(client, project.revenueCatProjectId, setup.settings);
  const findings: Finding[] = [];
  switch (check.outcome) {
    case 'unreachable':
      if (check.code === 'revenuecat_rate_limited') {
        findings.push(
          warning(
            'revenuecat_api',
            "RevenueCat was not asked: the key's rate limit is used up for now.",
            'Run this again in a minute. An import may use the limit; if none runs, see who else uses this key.',
            scope,
          ),
        );
        return [...findings, received];
      }
      findings.push(
        problem(
          'revenuecat_api',
          'RevenueCat could not be asked.',
          'Try again in a minute. If it stays: check the connection to api.revenuecat.com, and https://status.revenuecat.com.',
          scope,
        ),
      );
      return [...findings, received];
    case 'rejected':
      findings.push(
        problem(
          'revenuecat_key',
          `RevenueCat refuses the API key of ${project.name}: no grants, no refreshing, no import.`,
          `Make a secret API key of version 2 in RevenueCat (Project settings › API keys) and paste it at ${settings}.`,
          scope,
        ),
      );
      return [...findings, received];
    case 'wrong_project':
    case 'choose':
      findings.push(
        problem(
          'revenuecat_key',
          `The API key does not open project ${project.revenueCatProjectId}.`,
          `Paste a key of that project at ${settings}, or connect the project that the key belongs to.`,
          scope,
        ),
      );
      return [...findings, received];
    case 'valid':
      findings.push(
        !lacksPermission(check.missingScopes)
          ? ok('revenuecat_key', `RevenueCat accepts the API key of ${project.name}.`, scope)
          : problem(
              'revenuecat_scopes',
              `The API key of ${project.name} lacks permissions: ${check.missingScopes.join(', ')}.`,
              'Give the key these permissions in RevenueCat (Project settings › API keys).',
              scope,
            ),
      );
  }
  const url = `${setup.publicUrl}/webhooks/revenuecat/${project.projectId}`;
  const registered = setup.isPublicUrlWrong
    ? warning(
        'webhook_registered',
        'Whether a webhook leads here cannot be told: PUBLIC_URL is wrong.',
        'Correct PUBLIC_URL first.',
        scope,
      )
    : await checkRegistered(project, client, url, setup.nowMs);
  return [...findings, registered, received];
}

async function checkRegistered(
  project: Project,
  client: RevenueCatClient,
  url: string,
  nowMs: number,
): Promise<Finding> {
  const scope = { workspace: project.workspaceId, project: project.projectId };
  try {
    const all = await client.listWebhooks(project.revenueCatProjectId);
    const own = all.filter((each) => each.url === url);
    const whole = own.find(
      ({ environment, event_types, app_id }) => environment === null && !event_types && app_id === null,
    );
    if (whole) return ok('webhook_registered', 'The webhook is registered in RevenueCat.', scope);
    if (own.length > 0) {
      return warning(
        'webhook_registered',
        'The webhook is registered for some environments, apps or event types only: other events do not arrive.',
        'In RevenueCat, open Integrations › Webhooks and choose both environments, all apps and all events.',
        scope,
      );
    }
    return unregistered(
      project,
      url,
      all.map((each) => each.url),
      nowMs,
    );
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'revenuecat_scope_missing') {
      return ok(
        'webhook_registered',
        'The API key may not list webhooks: whether ours is there is not known.',
        scope,
      );
    }
    return warning(
      'webhook_registered',
      `Webhooks could not be listed: ${error.message}.`,
      'Try again in a minute.',
      scope,
    );
  }
}

/** No webhook has our address: that is no fault as long as events arrive all the same, by a forwarder perhaps. */
function unregistered(project: Project, url: string, others: readonly string[], nowMs: number): Finding {
  const scope = { workspace: project.workspaceId, project: project.projectId };
  const connect =
    'Connect the project again in Settings › RevenueCat (it registers the webhook), or add it by hand in RevenueCat under Integrations › Webhooks.';
  // The same path on another host: the server has moved, or PUBLIC_URL is not what it was.
  const moved = others.find((other) => pathOf(other) === pathOf(url));
  const isArriving =
    project.lastReceivedAt !== null && nowMs - project.lastReceivedAt.getTime() < SILENT_DAYS * DAY_MS;
  if (moved !== undefined) {
    const tell = isArriving ? warning : problem;
    return tell(
      'webhook_registered',
      `The webhook in RevenueCat leads to ${originOf(moved)}, and PUBLIC_URL is ${originOf(url)}.`,
      `If PUBLIC_URL is right, change the webhook's address in RevenueCat under Integrations › Webhooks to ${url}. If not, correct PUBLIC_URL.`,
      scope,
    );
  }
  const elsewhere = others.length === 0 ? '' : ` (${others.length} lead elsewhere)`;
  if (isArriving) {
    return warning(
      'webhook_registered',
      `No webhook in RevenueCat leads to ${url}${elsewhere}, yet events arrive, the last at ${project.lastReceivedAt?.toISOString()}.`,
      `If something of yours passes them on, nothing needs to be done. If the webhook was removed since: ${lowerFirst(connect)}`,
      scope,
    );
  }
  return problem(
    'webhook_registered',
    `No webhook in RevenueCat leads to ${url}${elsewhere}: no event arrives.`,
    connect,
    scope,
  );
}

const pathOf = (url: string): string | null => URL.parse(url)?.pathname ?? null;
const originOf = (url: string): string => URL.parse(url)?.origin ?? url;

function checkReceived(
  project: Project,
  { nowMs, connectedAtMs, refusal }: { nowMs: number; connectedAtMs: number; refusal: WebhookRefusal | null },
): Finding {
  const scope = { workspace: project.workspaceId, project: project.projectId };
  const { lastReceivedAt } = project;
  const remedy =
    'In RevenueCat, open the webhook, compare its address, and choose "Send test event". A 401 there means that the authorization value differs: connect the project again to get a new one.';
  if (refusal !== null) {
    const what = refusal.refusedFor === 'authorization' ? 'Authorization value' : 'signature';
    return problem(
      'webhook_refused',
      `Webhooks of ${project.name} are refused: their ${what} is not the one that is stored here. The last came at ${new Date(refusal.atMs).toISOString()}, and none was taken since.`,
      refusal.refusedFor === 'authorization'
        ? 'If the value was changed in RevenueCat, connect the project again in Settings › RevenueCat, or with connect, and enter the new value there under Integrations › Webhooks. RevenueCat repeats what was refused for two and a half hours; for what is older choose Retry there.'
        : 'Enter the signing secret of the webhook again in Settings › RevenueCat, or remove it there if RevenueCat does not sign any more; a clock that is off by five minutes has the same effect. RevenueCat repeats what was refused for two and a half hours.',
      scope,
    );
  }
  if (lastReceivedAt === null) {
    const isNew = nowMs - connectedAtMs < DAY_MS;
    const tell = isNew ? warning : problem;
    return tell('webhook_received', `No event of ${project.name} has ever arrived.`, remedy, scope);
  }
  const days = Math.floor((nowMs - lastReceivedAt.getTime()) / DAY_MS);
  if (days >= SILENT_DAYS)
    return warning(
      'webhook_received',
      `The last event of ${project.name} arrived ${days} days ago.`,
      remedy,
      scope,
    );
  return ok('webhook_received', `The last event arrived at ${lastReceivedAt.toISOString()}.`, scope);
}
