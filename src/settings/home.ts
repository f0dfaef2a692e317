import type { Router } from 'express';
import { listProjects, type Project } from '../workspaces/projects.ts';
import type { Refusals, Workspace } from '../workspaces/store.ts';
import { checkNow } from './check-now.ts';
import { pageSql, type SettingsContext, visitOf } from './context.ts';
import { sendPage } from './render.ts';
import { MAX_COUNTED, type Overview, readOverview } from './store.ts';

interface Advice {
  readonly tone: 'bad' | 'todo';
  readonly text: string;
  readonly link: string;
  readonly label: string;
}

export function addHomePage(router: Router, context: SettingsContext): void {
  router.get('/', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId } = visit.workspace;
    const sql = await pageSql(context);
    const [overview, projects] = await Promise.all([
      readOverview(sql, workspaceId),
      listProjects(sql, workspaceId),
    ]);
    const advice = advise(visit.workspace, projects, overview);
    const count = (number: number): string =>
      number >= MAX_COUNTED
        ? `${MAX_COUNTED.toLocaleString('en-US')} or more`
        : number.toLocaleString('en-US');
    sendPage(req, res, {
      view: 'home',
      title: 'Home',
      section: 'home',
      visit,
      data: {
        overview,
        projects,
        advice,
        count,
        status: visit.workspace.status,
        checkedAt: visit.workspace.checkedAt,
      },
    });
  });

  router.post('/check', async (_req, res) => {
    res.redirect(303, `/settings?done=${await checkNow(context, await visitOf(context, res))}`);
  });
}

/** What keeps events from their contacts, the most fundamental first, each with the way out of it. */
function advise(
  workspace: Pick<Workspace, 'status' | 'attributesReady' | 'refusals'>,
  projects: readonly Pick<Project, 'name' | 'apiKeyState' | 'lastReceivedAt' | 'missingScopes'>[],
  overview: Overview,
): Advice[] {
  const advice: Advice[] = [];
  if (workspace.status !== 'connected') {
    advice.push({
      tone: 'bad',
      text: 'Intercom no longer accepts our access. Events are kept and delivered after you reinstall the app.',
      link: '/install',
      label: 'Reinstall',
    });
  }
  advice.push(...adviseOnRefusals(workspace.refusals));
  if (projects.length === 0) {
    advice.push({
      tone: 'todo',
      text: 'Connect your RevenueCat project, so that subscription events arrive here.',
      link: '/settings/revenuecat',
      label: 'Connect RevenueCat',
    });
  }
  for (const project of projects) {
    if (project.apiKeyState === 'rejected') {
      advice.push({
        tone: 'bad',
        text: `RevenueCat no longer accepts the API key of ${project.name}. Events still arrive; grants and refreshing do not work.`,
        link: '/settings/revenuecat',
        label: 'Replace the key',
      });
    }
    if (project.apiKeyState === 'valid' && project.missingScopes.length > 0) {
      advice.push({
        tone: 'todo',
        text: `The API key of ${project.name} lacks permissions. Events work; names, refreshing or grants do not.`,
        link: '/settings/revenuecat',
        label: 'See which',
      });
    }
    if (project.lastReceivedAt === null) {
      advice.push({
        tone: 'todo',
        text: `No event has arrived from ${project.name} yet. Send a test event from RevenueCat to see that the webhook works.`,
        link: '/settings/revenuecat',
        label: 'See how',
      });
    }
  }
  if (workspace.status === 'connected' && !workspace.attributesReady) {
    advice.push({
      tone: 'todo',
      text: 'Some contact attributes could not be made in Intercom. Events are delivered without them.',
      link: '/settings/contacts',
      label: 'See the attributes',
    });
  }
  if (overview.failed > 0) {
    advice.push({
      tone: 'bad',
      text: 'Some events could not be delivered. Each shows why, and can be sent again.',
      link: '/settings/deliveries?show=failed',
      label: 'See failed events',
    });
  }
  if (overview.waiting > 0) {
    advice.push({
      tone: 'todo',
      text: 'Some customers have no Intercom contact yet. Their events go out when the contact appears.',
      link: '/settings/contacts',
      label: 'Choose how contacts are matched',
    });
  }
  return advice;
}

/** Each kind of refusal once, with Intercom's own words: they name the permission. */
function adviseOnRefusals(refusals: Refusals): Advice[] {
  const all = [refusals.events, refusals.contacts].filter((each) => each !== undefined);
  const lacking = all.find(({ code }) => code === 'intercom_scope_missing');
  const restricted = all.find(({ code }) => code === 'intercom_plan_restricted');
  const advice: Advice[] = [];
  if (lacking) {
    advice.push({
      tone: 'bad',
      text: `The app lacks a permission in Intercom. Install it again and allow what it asks for: events wait until then. (${lacking.message})`,
      link: '/install',
      label: 'Reinstall',
    });
  }
  if (restricted) {
    advice.push({
      tone: 'bad',
      text: `Your Intercom plan does not include what the app needs. Events wait, and go out when the plan allows it. (${restricted.message})`,
      link: '/settings/deliveries?show=pending',
      label: 'See what waits',
    });
  }
  return advice;
}
