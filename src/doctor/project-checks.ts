import type { Config } from '../config.ts';
import { AppError, answerOrError } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { DAY_MS } from '../time.ts';
import { webhookUrl } from '../workspaces/project-connection.ts';
import type { Project } from '../workspaces/projects.ts';
import { checkApiKey, lacksPermission } from '../workspaces/revenuecat-key.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { type CheckOutcome, type Checks, lowerFirst, ok, problem, warning } from './check.ts';
import { UNKNOWN_URL } from './settings-checks.ts';

/** Some apps sell little, so a shorter silence means nothing. */
const SILENT_DAYS = 7;

/** @throws AppError when RevenueCat does not answer */
export async function tryRevenueCat(client: RevenueCatClient, project: Project, settings: WorkspaceSettings) {
  const key = await checkApiKey(client, project.revenueCatProjectId, settings);
  if (key.outcome === 'unreachable') throw new AppError(key.code, 'RevenueCat did not answer');
  const isValid = key.outcome === 'valid';
  return {
    outcome: key.outcome,
    /** Empty: every feature that is switched on works. */
    missingScopes: isValid && lacksPermission(key.missingScopes) ? key.missingScopes : [],
    webhooks: isValid ? await answerOrError(client.listWebhooks(project.revenueCatProjectId)) : null,
  };
}

interface ProjectSubject {
  readonly project: Project;
  /** `null`: RevenueCat was not called, because there is no API key or no encryption key decrypts it. */
  readonly revenueCat: Awaited<ReturnType<typeof tryRevenueCat>> | AppError | null;
  readonly config: Pick<Config, 'publicUrl'>;
  readonly nowMs: number;
}

const REGISTER_WEBHOOK =
  'Choose New authorization value in Settings › RevenueCat (it registers the webhook), or add it manually in RevenueCat under Integrations › Webhooks.';

const SEND_TEST_EVENT =
  'In RevenueCat, open the webhook, compare its address, and choose "Send test event". A 401 there means that the authorization value differs: choose New authorization value in Settings › RevenueCat.';

export const PROJECT_CHECKS: Checks<ProjectSubject> = {
  revenuecat_api({ revenueCat }) {
    if (!(revenueCat instanceof AppError)) return null;
    if (revenueCat.code === 'revenuecat_rate_limited')
      return warning(
        "RevenueCat was not called: the key's rate limit is used up for now.",
        'Run this again in a minute. An import may use the limit; if none runs, see what else uses this key.',
      );
    return problem(
      `${revenueCat.message}.`,
      'Try again in a minute. If it remains: check the connection to api.revenuecat.com from here, and https://status.revenuecat.com.',
    );
  },
  revenuecat_key: checkKey,
  revenuecat_scopes({ project, revenueCat }) {
    if (revenueCat === null || revenueCat instanceof AppError) return null;
    if (revenueCat.missingScopes.length === 0) return null;
    return problem(
      `The API key of ${project.name} lacks permissions: ${revenueCat.missingScopes.join(', ')}.`,
      'Give the key these permissions in RevenueCat (Project settings › API keys).',
    );
  },
  webhook_registered: checkRegistered,
  webhook_refused({ project: { name, refusedWebhook } }) {
    if (refusedWebhook === null) return null;
    const isSignature = refusedWebhook.refusedFor === 'signature';
    return problem(
      `Webhooks from ${name} are refused: their ${isSignature ? 'signature' : 'Authorization value'} differs from the stored one. The last came at ${refusedWebhook.at.toISOString()}, and none was accepted since.`,
      isSignature
        ? 'Enter the signing secret of the webhook again in Settings › RevenueCat, or remove it there if RevenueCat no longer signs; a clock that is off by five minutes has the same effect. RevenueCat retries what was refused for two and a half hours.'
        : 'If the value was changed in RevenueCat, choose New authorization value in Settings › RevenueCat, or run connect, and enter the new value there under Integrations › Webhooks. RevenueCat retries what was refused for two and a half hours; for older events choose Retry there.',
    );
  },
  webhook_received({ project, nowMs }) {
    const { refusedWebhook, lastReceivedAt, createdAt } = project;
    if (refusedWebhook !== null) return null;
    if (lastReceivedAt === null) {
      const severity = nowMs - createdAt.getTime() < DAY_MS ? warning : problem;
      return severity(`No event of ${project.name} has ever arrived.`, SEND_TEST_EVENT);
    }
    const days = Math.floor((nowMs - lastReceivedAt.getTime()) / DAY_MS);
    return days >= SILENT_DAYS
      ? warning(`The last event of ${project.name} arrived ${days} days ago.`, SEND_TEST_EVENT)
      : ok(`The last event arrived at ${lastReceivedAt.toISOString()}.`);
  },
};

function checkKey({ project, config, revenueCat }: ProjectSubject): CheckOutcome | null {
  const settings = `${config.publicUrl}/settings/revenuecat`;
  if (project.apiKey === null)
    return warning(
      `${project.name} has no API key: no grants, no refreshing, no import.`,
      `Paste a secret API key of version 2 at ${settings}.`,
    );
  if (revenueCat === null)
    return problem(
      `The API key of ${project.name} cannot be decrypted.`,
      `Add the key that encrypted it to ENCRYPTION_KEYS, or paste the API key again at ${settings}.`,
    );
  if (revenueCat instanceof AppError) return null;
  switch (revenueCat.outcome) {
    case 'rejected':
      return problem(
        `RevenueCat rejects the API key of ${project.name}: no grants, no refreshing, no import.`,
        `Make a secret API key of version 2 in RevenueCat (Project settings › API keys) and paste it at ${settings}.`,
      );
    case 'valid':
      return revenueCat.missingScopes.length > 0
        ? null
        : ok(`RevenueCat accepts the API key of ${project.name}.`);
    default:
      return problem(
        `The API key does not belong to project ${project.revenueCatProjectId}.`,
        `Paste a key of that project at ${settings}, or connect the project that the key belongs to.`,
      );
  }
}

function checkRegistered(subject: ProjectSubject): CheckOutcome | null {
  const { revenueCat, config } = subject;
  if (revenueCat === null || revenueCat instanceof AppError || revenueCat.webhooks === null) return null;
  const { publicUrl } = config;
  const { webhooks: listed } = revenueCat;
  if (publicUrl === UNKNOWN_URL)
    return warning(
      'Whether a webhook leads here is unknown: PUBLIC_URL is wrong.',
      'Correct PUBLIC_URL first.',
    );
  if (listed instanceof AppError)
    return listed.code === 'revenuecat_scope_missing'
      ? ok('The API key may not list webhooks: whether ours is registered is unknown.')
      : warning(`Webhooks could not be listed: ${listed.message}.`, 'Try again in a minute.');
  const url = webhookUrl(publicUrl, subject.project.projectId);
  const ours = listed.filter((webhook) => webhook.url === url);
  const isUnfiltered = ours.some(
    ({ environment, event_types, app_id }) => environment === null && !event_types && app_id === null,
  );
  if (isUnfiltered) return ok('The webhook is registered in RevenueCat.');
  if (ours.length > 0)
    return warning(
      'The webhook is registered for some environments, apps or event types only: other events do not arrive.',
      'In RevenueCat, open Integrations › Webhooks and choose both environments, all apps and all events.',
    );
  const others = listed.map((webhook) => webhook.url);
  return explainUnregistered(subject, url, others);
}

/** No webhook has our address. This is not a problem while events still arrive, perhaps through a forwarder. */
function explainUnregistered(
  { project, nowMs }: ProjectSubject,
  url: string,
  others: readonly string[],
): CheckOutcome {
  // The same path on another host: the server has moved, or PUBLIC_URL has changed.
  const moved = others.find((other) => URL.parse(other)?.pathname === URL.parse(url)?.pathname);
  const isReceiving =
    project.lastReceivedAt !== null && nowMs - project.lastReceivedAt.getTime() < SILENT_DAYS * DAY_MS;
  if (moved !== undefined) {
    const severity = isReceiving ? warning : problem;
    return severity(
      `The webhook in RevenueCat leads to ${originOf(moved)}, and PUBLIC_URL is ${originOf(url)}.`,
      `If PUBLIC_URL is right, change the webhook's address in RevenueCat under Integrations › Webhooks to ${url}. If not, correct PUBLIC_URL.`,
    );
  }
  const elsewhere = others.length === 0 ? '' : ` (${others.length} lead elsewhere)`;
  return isReceiving
    ? warning(
        `No webhook in RevenueCat leads to ${url}${elsewhere}, yet events arrive, the last at ${project.lastReceivedAt?.toISOString()}.`,
        `If something of yours forwards them, nothing needs to be done. If the webhook was removed since: ${lowerFirst(REGISTER_WEBHOOK)}`,
      )
    : problem(`No webhook in RevenueCat leads to ${url}${elsewhere}: no event arrives.`, REGISTER_WEBHOOK);
}

const originOf = (url: string): string => URL.parse(url)?.origin ?? url;
