import { z } from 'zod';
import { queueImport } from '../backfill/jobs.ts';
import { failureMessage, outcomeLines, percentDone, progressLine } from '../backfill/progress.ts';
import { changeState, type ImportState, readLatestImport, startImport } from '../backfill/repository.ts';
import { formatCount } from '../text.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { audit } from './change-settings.ts';
import {
  action,
  confirmationPage,
  done,
  form,
  type Page,
  type PageRequest,
  problems,
  textField,
} from './page.ts';
import { projectOf } from './revenuecat.ts';

/** At RevenueCat's limit of 480 calls a minute; for the estimate on the page. */
const CUSTOMERS_PER_MINUTE = 85;

const startForm = form(
  z.object({
    events_since: textField.pipe(
      z.literal('').or(z.iso.date({ error: 'Choose a day for the events, or leave it empty.' })),
    ),
  }),
  async (request, { events_since: since }) => {
    const { app } = request;
    const project = await projectOf(request);
    if (project.apiKey === null) return problems({ '': `${project.name} has no API key. Paste one first.` });
    if (Date.parse(since) > app.now())
      return problems({ events_since: 'Choose a day that has begun, or leave it empty.' });
    const { progress, isResumed } = await startImport(app.database, {
      workspaceId: project.workspaceId,
      projectId: project.projectId,
      eventsSinceMs: since === '' ? null : Date.parse(`${since}T00:00:00Z`),
    });
    await queueImport(app.jobs, progress);
    await audit(request, isResumed ? 'import_resumed' : 'import_started', {
      project: project.name,
      ...(since === '' ? {} : { events_since: since }),
    });
    return done('/import');
  },
);

const pauseForm = action(async (request) => {
  await move(request, { from: ['running'], to: 'paused' });
  return done('/import');
});

/** Changes the state of a project's latest import, if it is in one of the given states. */
async function move(
  request: PageRequest,
  { from, to }: { from: readonly ImportState[]; to: ImportState },
): Promise<void> {
  const { database, jobs } = request.app;
  const project = await projectOf(request);
  const latest = await readLatestImport(database, project.workspaceId, project.projectId);
  if (!latest || !(await changeState(database, latest, { from, to }))) return;
  await audit(request, `import_${to}`, { project: project.name });
  // The job deletes the list of customers still to come when it sees that the import was cancelled.
  if (to === 'cancelled') await queueImport(jobs, latest);
}

async function describeLatest({ database }: AppContext, { workspaceId, projectId }: Project) {
  const latest = await readLatestImport(database, workspaceId, projectId);
  if (latest === null) return null;
  const { state, finishedAt } = latest;
  const outcome = outcomeLines(latest);
  const progress = { line: progressLine(latest), percent: percentDone(latest) };
  return { state, finishedAt, outcome, failure: failureMessage(latest), ...progress };
}

/** Imports a project's history and shows the progress. Without the script, reloading the page updates it. */
export const importPage: Page = {
  path: '/import',
  title: 'Import existing customers',
  menuLabel: 'Import customers',
  async load({ app, workspaceId }) {
    const projects = await listProjects(app.database, workspaceId);
    const described = projects.map(async (project) => ({
      id: project.projectId,
      name: project.name,
      keyState: project.apiKey === null ? 'none' : project.apiKeyState,
      latest: await describeLatest(app, project),
    }));
    return { projects: await Promise.all(described), perHour: formatCount(CUSTOMERS_PER_MINUTE * 60) };
  },
  status: async (request) => ({ ...(await describeLatest(request.app, await projectOf(request))) }),
  forms: { '/start': startForm, '/pause': pauseForm },
};

export const cancelImportPage = confirmationPage({
  path: '/import/cancel',
  title: 'Cancel the import',
  find: projectOf,
  describe: ({ name, projectId }) => ({
    heading: `Cancel the import of ${name}?`,
    effects: [
      'The list of customers that were still to come is deleted. A new import begins from the start.',
      'Everything that was imported stays.',
    ],
    fields: { project: projectId },
    button: 'Cancel the import',
  }),
  async save(request) {
    await move(request, { from: ['running', 'paused', 'failed'], to: 'cancelled' });
    return done('/import');
  },
});
