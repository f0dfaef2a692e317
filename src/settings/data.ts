import { z } from 'zod';
import { AppError, notFound } from '../errors.ts';
import { eraseSubscribers, exportSubscribers } from '../subscribers/customer-data.ts';
import { allowAgain, countErased } from '../subscribers/erased-ids.ts';
import { findByAppUserIds } from '../subscribers/search.ts';
import { uninstall } from '../workspaces/install.ts';
import { listProjects } from '../workspaces/projects.ts';
import { audit } from './change-settings.ts';
import { confirmationPage, done, form, type Page, type PageRequest, problems, textField } from './page.ts';

async function findCustomer({ app, workspace, input }: PageRequest): Promise<string[]> {
  const customer = input('customer');
  if (customer === '') return [];
  const found = await findByAppUserIds(app.database, workspace.workspaceId, [customer]);
  return found.map(({ subscriberId }) => subscriberId);
}

/** One customer's data: export and erase. And the whole app: disconnect and uninstall. */
export const dataPage: Page = {
  path: '/data',
  title: 'Data',
  view: 'data',
  async load(request) {
    const { app, workspace, input } = request;
    const [found, projects, erased] = await Promise.all([
      findCustomer(request),
      listProjects(app.database, workspace.workspaceId),
      countErased(app.database, workspace.workspaceId),
    ]);
    return {
      customer: input('customer'),
      isFound: found.length > 0,
      projects,
      erased,
      allow: input('allow'),
    };
  },
  downloads: {
    '/export': async (request) => {
      const { app, workspace } = request;
      const found = await findCustomer(request);
      if (found.length === 0) throw notFound('This workspace has no customer with this ID');
      // Without the ID: the record of the team outlives the customer's data.
      await audit(request, 'customer_exported');
      const data = await exportSubscribers(app.database, workspace.workspaceId, found);
      return { name: 'customer.json', type: 'json', body: JSON.stringify(data, null, 2) };
    },
  },
  forms: {
    '/erase': form(z.object({ customer: textField, repeat: textField }), async (request, values) => {
      const { app, workspace, session } = request;
      const found = await findCustomer(request);
      if (found.length === 0) throw notFound('This workspace has no customer with this ID');
      if (values.repeat !== values.customer)
        return problems({ repeat: 'Nothing was erased. Type the ID again, exactly as it is shown.' });
      await eraseSubscribers(app, workspace.workspaceId, {
        subscriberIds: found,
        by: { id: session.admin.id, name: session.admin.name },
      });
      await audit(request, 'customer_erased');
      return done('/data', 'erased');
    }),
    '/allow': form(z.object({ allow: textField }), async (request, { allow }) => {
      const { app, workspace } = request;
      const within = { sql: app.database, secrets: app.secrets };
      if ((await allowAgain(within, workspace.workspaceId, allow)) === 0)
        return problems({ allow: 'No erased customer has this ID.' });
      // Without the ID, as when the customer was erased.
      await audit(request, 'customer_allowed');
      return done('/data', 'allowed');
    }),
  },
};

export const uninstallPage = confirmationPage({
  path: '/data/uninstall',
  title: 'Uninstall',
  find: async ({ workspace }) => workspace,
  describe: ({ name }) => ({
    heading: `Uninstall Subscription Timeline from ${name}?`,
    effects: [
      'Our access to Intercom ends immediately, and the card disappears from the inbox and the Messenger.',
      'API keys of RevenueCat, the Messenger secret and your API keys are deleted. You need to enter them again after installing again.',
      'Events that RevenueCat sends while the app is uninstalled are refused.',
      'All other data is kept for 30 days, so that installing again restores it. Then it is erased for good.',
    ],
    button: 'Uninstall',
  }),
  async save(request, { workspaceId }) {
    const { app } = request;
    try {
      await uninstall(app, workspaceId);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      app.logger.warn({ code: error.code, workspaceId }, 'not uninstalled');
      return problems({ '': 'Intercom did not answer. Nothing was changed: please try again.' });
    }
    await audit(request, 'uninstalled');
    return { kind: 'done', path: '/signin', flash: 'uninstalled', signsOut: true };
  },
});
