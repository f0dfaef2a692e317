import { z } from 'zod';
import { listImportedProjects } from '../backfill/repository.ts';
import { MAX_COUNTED } from '../database/sql.ts';
import { readRejectedContacts } from '../delivery/replay.ts';
import { countAwaitingApproval } from '../grants/bulk/repository.ts';
import { countFailedWebhooks } from '../ingestion/journal.ts';
import { hasMessengerSecret } from '../messenger/api-keys.ts';
import { formatCount } from '../text.ts';
import { countGrantsByTeammate } from '../workspaces/audit.ts';
import { findProblems } from '../workspaces/health.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/repository.ts';
import { OPTIONAL_STEPS } from '../workspaces/settings.ts';
import { changeSettings } from './change-settings.ts';
import { adviceOn, reasonText } from './messages.ts';
import { action, done, form, type Page, type PageRequest, textField } from './page.ts';
import { readActivity, readOverview, readTimeToContact } from './repository.ts';
import { checkNow } from './revenuecat.ts';
import texts from './texts.json' with { type: 'json' };

export const homePage: Page = {
  path: '',
  title: 'Home',
  view: 'home',
  async load(request) {
    const { app, workspace, workspaceId, sql } = request;
    const [overview, projects, activity, timeToContact, grants, requested, unreadable, rejected] =
      await Promise.all([
        readOverview(sql, workspaceId),
        listProjects(sql, workspaceId),
        readActivity(sql, workspaceId, workspace.timezone),
        readTimeToContact(sql, workspaceId),
        countGrantsByTeammate(sql, workspaceId),
        countAwaitingApproval(app.database, workspaceId),
        countFailedWebhooks(app.database, workspaceId),
        readRejectedContacts(sql, workspaceId),
      ]);
    const { pending: reasons, failed, isPartial } = overview;
    const waiting = reasons.get('waiting_for_contact') ?? 0;
    const pending = [...reasons.values()].reduce((sum, count) => sum + count, 0) - waiting;
    // The problems that keep events from their contacts, the most fundamental first, each with its remedy.
    const advice = findProblems(workspace, projects).map(({ code, about }) => adviceOn(code, about));
    if (unreadable > 0) advice.push(adviceOn('webhooks_failed'));
    if (failed > 0) advice.push(adviceOn('deliveries_failed'));
    if (rejected.count > 0) advice.push(adviceOn('contacts_rejected', atMost(rejected.count)));
    if (waiting > 0) advice.push(adviceOn('contacts_missing'));
    if (requested > 0) advice.push(adviceOn('approval_requested'));
    const total = (key: 'received' | 'delivered' | 'failed'): number =>
      activity.reduce((sum, day) => sum + day[key], 0);
    const finished = total('delivered') + total('failed');
    return {
      steps: await setupSteps(request, projects),
      advice,
      overall: overallOf(workspace, projects, advice),
      tiles: [
        { label: 'queued', count: atMost(pending, isPartial), show: 'pending', isBad: false },
        { label: 'waiting for a contact', count: atMost(waiting, isPartial), show: 'waiting', isBad: false },
        { label: 'failed', count: atMost(failed), show: 'failed', isBad: failed > 0 },
      ],
      reasons: [...reasons].map(([reason, count]) => ({
        text: reasonText(reason) || 'Next in line for Intercom',
        count: atMost(count, isPartial),
      })),
      overview,
      activity,
      hasActivity: total('received') > 0,
      successRate: finished === 0 ? null : formatRate(total('delivered') / finished),
      timeToContact: timeToContact && {
        median: formatSeconds(timeToContact.medianS),
        p95: formatSeconds(timeToContact.p95S),
      },
      grants,
      projects,
      status: workspace.status,
      checkedAt: workspace.checkedAt,
    };
  },
  forms: {
    '/check': action(async (request) => done('', await checkNow(request))),
    '/setup': form(
      z.object({
        step: textField.pipe(
          z.enum(OPTIONAL_STEPS, 'Nothing was saved. Choose one of the steps of the list.'),
        ),
      }),
      async (request, { step }) => {
        await changeSettings(request, 'setup', (stored) => ({ done: [...new Set([...stored.done, step])] }));
        return done('', 'step_done');
      },
    ),
  },
};

function atMost(count: number, isPartial = false): string {
  const text = formatCount(Math.min(count, MAX_COUNTED));
  return isPartial || count >= MAX_COUNTED ? `${text} or more` : text;
}

/** Never rounds up to 100 % when something failed. */
function formatRate(rate: number): string {
  return `${rate === 1 ? '100' : (Math.floor(rate * 1_000) / 10).toFixed(1)} %`;
}

function formatSeconds(seconds: number): string {
  if (seconds < 1) return 'under a second';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** @returns `null` when everything is done */
async function setupSteps({ app, workspace, workspaceId }: PageRequest, projects: readonly Project[]) {
  const { settings } = workspace;
  const [imported, hasSecret] = await Promise.all([
    listImportedProjects(app.database, workspaceId),
    hasMessengerSecret(app.database, workspaceId),
  ]);
  const step = (name: keyof typeof texts.setupSteps, isDone: boolean) => {
    // An optional step can be marked as done, because not every workspace needs it.
    const optional = OPTIONAL_STEPS.find((each) => each === name) ?? null;
    const isMarked = optional !== null && settings.setup.done.includes(optional);
    return { ...texts.setupSteps[name], isDone: isDone || isMarked, optional };
  };
  const hasReceived = projects.some(({ lastReceivedAt }) => lastReceivedAt !== null);
  const steps = [
    step('connect', projects.length > 0),
    step('test', hasReceived),
    step('import', projects.length > 0 && projects.every(({ projectId }) => imported.has(projectId))),
    step('events', Object.keys(settings.events).length > 0),
    step('messenger', hasSecret),
  ];
  return steps.every(({ isDone }) => isDone) ? null : steps;
}

function overallOf(
  { status }: Pick<Workspace, 'status'>,
  projects: readonly Project[],
  advice: readonly ReturnType<typeof adviceOn>[],
): { tone: 'good' | 'todo' | 'bad'; text: string } {
  if (advice.length === 0) return { tone: 'good', text: 'Everything works' };
  const isBad = advice.some(({ tone }) => tone === 'bad');
  const isConnected = status === 'connected' && projects.length > 0;
  if (isBad) return { tone: 'bad', text: isConnected ? 'Connected, action needed' : 'Not connected' };
  const hasEvents = projects.some(({ lastReceivedAt }) => lastReceivedAt !== null);
  return { tone: 'todo', text: hasEvents ? 'Works, with something left to do' : 'Not receiving events yet' };
}
