import type { Request, Response, Router } from 'express';
import { queueImport } from '../backfill/jobs.ts';
import {
  failureMessage,
  formatCount,
  outcomeLines,
  percentDone,
  progressJson,
  progressLine,
} from '../backfill/progress.ts';
import {
  changeState,
  type ImportProgress,
  type ImportState,
  readLatestImport,
  startImport,
} from '../backfill/store.ts';
import { AppError, notFound } from '../errors.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { auditChange } from './audit.ts';
import { field, type SettingsContext, type Visit, visitOf } from './context.ts';
import { sendPage } from './render.ts';

/** Calls that a customer takes, of the 480 that RevenueCat allows in a minute: for the estimate on the page. */
const CUSTOMERS_PER_MINUTE = 85;

/** How to change an import that is on its way. */
const STEPS: Readonly<Record<string, { from: readonly ImportState[]; to: ImportState }>> = {
  pause: { from: ['running'], to: 'paused' },
  cancel: { from: ['running', 'paused', 'failed'], to: 'cancelled' },
};

/** `/settings/import`: import a project's history and watch it. Reloading does what the script does. */
export function addImportPages(router: Router, context: SettingsContext): void {
  const { database } = context;

  async function show(
    req: Request,
    res: Response,
    visit: Visit,
    extras: { errors?: readonly string[]; since?: string } = {},
  ): Promise<void> {
    const projects = await listProjects(database, visit.workspace.workspaceId);
    const imports = await Promise.all(
      projects.map(({ workspaceId, projectId }) => readLatestImport(database, workspaceId, projectId)),
    );
    sendPage(req, res, {
      view: 'import',
      title: 'Import history',
      section: 'revenuecat',
      visit,
      errors: extras.errors ?? [],
      data: {
        projects: projects.map((project, index) => ({
          id: project.projectId,
          name: project.name,
          keyState: project.apiKey === null ? 'none' : project.apiKeyState,
          latest: described(imports[index] ?? null),
        })),
        typedSince: extras.since ?? '',
        perHour: formatCount(CUSTOMERS_PER_MINUTE * 60),
      },
    });
  }

  router.get('/import', async (req, res) => {
    await show(req, res, await visitOf(context, res));
  });

  router.get('/import/status', async (_req, res) => {
    const { workspace } = await visitOf(context, res);
    const projects = await listProjects(database, workspace.workspaceId);
    const imports = await Promise.all(
      projects.map(({ workspaceId, projectId }) => readLatestImport(database, workspaceId, projectId)),
    );
    res.set('Cache-Control', 'no-store').json({
      imports: imports.flatMap((each) =>
        each === null
          ? []
          : [{ ...progressJson(each), line: progressLine(each), percent: percentDone(each) }],
      ),
    });
  });

  router.post('/import/start', async (req, res) => {
    const visit = await visitOf(context, res);
    const project = await projectOf(req, visit);
    const since = field(req, 'events_since');
    const eventsSinceMs = since === '' ? null : dayMs(since);
    if (Number.isNaN(eventsSinceMs))
      return show(req, res, visit, { errors: ['Choose a day for the events, or leave it empty.'], since });
    if (project.apiKey === null)
      return show(req, res, visit, { errors: [`${project.name} has no API key. Paste one first.`], since });
    try {
      const { progress, joined } = await startImport(database, {
        workspaceId: project.workspaceId,
        projectId: project.projectId,
        eventsSinceMs,
        startedBy: { kind: 'settings', admin: visit.session.admin.id },
      });
      await queueImport(context.jobs, progress);
      await auditChange(context, visit, joined ? 'import_resumed' : 'import_started', {
        project: project.name,
        ...(since === '' ? {} : { events_since: since }),
      });
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'conflict') throw error;
      return show(req, res, visit, { errors: [`${error.message}.`], since });
    }
    res.redirect(303, '/settings/import');
  });

  for (const [step, { from, to }] of Object.entries(STEPS)) {
    router.post(`/import/${step}`, async (req, res) => {
      const visit = await visitOf(context, res);
      const project = await projectOf(req, visit);
      const latest = await readLatestImport(database, project.workspaceId, project.projectId);
      if (latest && (await changeState(database, latest, from, to))) {
        await auditChange(context, visit, `import_${to}`, { project: project.name });
        // A worker has to see it, to forget the list of who was still to come.
        if (to === 'cancelled') await queueImport(context.jobs, latest);
      }
      res.redirect(303, '/settings/import');
    });
  }

  /** The project of a form, of this workspace alone. */
  async function projectOf(req: Request, visit: Visit): Promise<Project> {
    const id = field(req, 'project');
    const own = (await listProjects(database, visit.workspace.workspaceId)).find(
      ({ projectId }) => projectId === id,
    );
    if (!own) throw notFound('This workspace has no such RevenueCat project');
    return own;
  }
}

/** Midnight UTC of `2026-10-01`. */
function dayMs(day: string): number {
  return /^\d{4}-\d{2}-\d{2}$/.test(day) ? Date.parse(`${day}T00:00:00Z`) : Number.NaN;
}

function described(progress: ImportProgress | null) {
  if (progress === null) return null;
  return {
    state: progress.state,
    line: progressLine(progress),
    percent: percentDone(progress),
    done: progress.done,
    listed: progress.listed,
    outcome: outcomeLines(progress),
    failure: progress.state === 'failed' ? failureMessage(progress) : null,
    finishedAt: progress.finishedAt,
    eventsSince:
      progress.eventsSinceMs === null ? null : new Date(progress.eventsSinceMs).toISOString().slice(0, 10),
  };
}
