import type { Request, Response, Router } from 'express';
import { AppError, notFound } from '../errors.ts';
import { listProjects } from '../workspaces/projects.ts';
import { uninstall } from '../workspaces/uninstall.ts';
import { auditChange } from './audit.ts';
import { field, parameter, type SettingsContext, visitOf } from './context.ts';
import { eraseSubscribers, exportSubscribers, findSubscribers } from './customer-data.ts';
import { sendPage } from './render.ts';

/** The page of what is stored: one customer's data out or away, and the whole app. */
export function addDataPages(router: Router, context: SettingsContext): void {
  const { database } = context;

  async function show(
    req: Request,
    res: Response,
    customer: string,
    errors: readonly string[],
  ): Promise<void> {
    const visit = await visitOf(context, res);
    const { workspaceId } = visit.workspace;
    const [found, projects] = await Promise.all([
      customer === '' ? [] : findSubscribers(database, workspaceId, customer),
      listProjects(database, workspaceId),
    ]);
    sendPage(req, res, {
      view: 'data',
      title: 'Data',
      section: 'data',
      visit,
      errors,
      data: {
        customer,
        isFound: found.length > 0,
        projects: projects.map(({ projectId, name }) => ({ id: projectId, name })),
      },
    });
  }

  router.get('/data', (req, res) => show(req, res, parameter(req, 'customer').trim(), []));

  router.get('/data/export', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspace } = visit;
    const found = await findSubscribers(database, workspace.workspaceId, parameter(req, 'customer').trim());
    if (found.length === 0) throw notFound('This workspace has no customer with this id');
    // Not whose: the record of the team outlives the customer's data.
    await auditChange(context, visit, 'customer_exported', {});
    res
      .set('Cache-Control', 'no-store')
      .attachment('customer.json')
      .type('json')
      .send(JSON.stringify(await exportSubscribers(database, workspace.workspaceId, found), null, 2));
  });

  router.post('/data/erase', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId } = visit.workspace;
    const customer = field(req, 'customer');
    const found = await findSubscribers(database, workspaceId, customer);
    if (found.length === 0) throw notFound('This workspace has no customer with this id');
    if (field(req, 'repeat') !== customer) {
      await show(req, res, customer, ['Nothing was erased. Type the id once more, exactly as it stands.']);
      return;
    }
    await eraseSubscribers(database, workspaceId, found);
    await auditChange(context, visit, 'customer_erased', {});
    res.redirect(303, '/settings/data?done=erased');
  });

  router.post('/data/uninstall', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspace } = visit;
    if (field(req, 'sure') !== 'on') {
      await show(req, res, '', ['Nothing was changed. Tick the box to uninstall.']);
      return;
    }
    try {
      await uninstall(context, workspace.workspaceId);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      context.logger.warn({ code: error.code, workspaceId: workspace.workspaceId }, 'not uninstalled');
      await show(req, res, '', ['Intercom did not answer. Nothing was changed: please try again.']);
      return;
    }
    await auditChange(context, visit, 'uninstalled', {});
    await context.sessions.signOut(req, res);
    res.redirect(303, '/signin?done=uninstalled');
  });
}
