import { z } from 'zod';
import { AppError, answerOrError, notFound } from '../errors.ts';
import {
  eraseFromLists,
  eraseSubscribers,
  exportFromLists,
  exportSubscribers,
  findListingProjects,
} from '../subscribers/customer-data.ts';
import { allowAgain, countErased } from '../subscribers/erased-ids.ts';
import { findByAppUserIds } from '../subscribers/search.ts';
import { uninstall } from '../workspaces/install.ts';
import { listProjects } from '../workspaces/projects.ts';
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

/** First the ID as typed, because it may begin or end with a space, then the ID without spaces that pasting added. */
const possibleIds = (typed: string): ReadonlySet<string> => new Set([typed, typed.trim()].filter(Boolean));

/** `null`: nothing is stored under this ID. No subscribers: only the lists of imports and of grants to many have it. */
async function findCustomer({ app, workspaceId, untrimmed }: PageRequest) {
  for (const appUserId of possibleIds(untrimmed('customer'))) {
    const found = await findByAppUserIds(app.database, workspaceId, [appUserId]);
    if (found.length > 0 || (await findListingProjects(app.database, workspaceId, appUserId)).length > 0)
      return { appUserId, subscriberIds: found.map(({ subscriberId }) => subscriberId) };
  }
  return null;
}

async function requireCustomer(request: PageRequest) {
  const found = await findCustomer(request);
  if (!found) throw notFound('This workspace has no customer with this ID');
  return found;
}

export const dataPage: Page = {
  path: '/data',
  title: 'Data',
  async load(request) {
    const { app, workspaceId, input } = request;
    const [found, projects, erased] = await Promise.all([
      findCustomer(request),
      listProjects(app.database, workspaceId),
      countErased(app.database, workspaceId),
    ]);
    return {
      customer: found?.appUserId ?? input('customer'),
      isFound: found !== null,
      projects,
      erased,
      allow: input('allow'),
    };
  },
  downloads: {
    '/export': async (request) => {
      const { app, workspaceId } = request;
      const { appUserId, subscriberIds } = await requireCustomer(request);
      // Leaves out the ID, because the audit record outlives the customer's data.
      await audit(request, 'customer_exported');
      const data = await (subscriberIds.length > 0
        ? exportSubscribers(app.database, workspaceId, subscriberIds)
        : exportFromLists(app.database, workspaceId, appUserId));
      return { name: 'customer.json', type: 'json', body: JSON.stringify(data, null, 2) };
    },
  },
  forms: {
    '/erase': form(z.object({ customer: textField, repeat: textField }), async (request, values) => {
      const { app, workspaceId, session } = request;
      const { appUserId, subscriberIds } = await requireCustomer(request);
      if (values.repeat !== values.customer)
        return problems({ repeat: 'Nothing was erased. Type the ID again, exactly as it is shown.' });
      const by = { id: session.admin.id, name: session.admin.name };
      if (subscriberIds.length > 0) await eraseSubscribers(app, workspaceId, { subscriberIds, by });
      else await eraseFromLists(app, workspaceId, { appUserId, by });
      await audit(request, 'customer_erased');
      return done('/data', 'erased');
    }),
    '/allow': action(async (request) => {
      const { app, workspaceId, untrimmed } = request;
      const within = { sql: app.database, secrets: app.secrets };
      let allowed = 0;
      for (const appUserId of possibleIds(untrimmed('allow')))
        allowed ||= await allowAgain(within, workspaceId, appUserId);
      if (allowed === 0) return problems({ allow: 'No erased customer has this ID.' });
      // Leaves out the ID, like the record of the erasure.
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
    const failed = await answerOrError(uninstall(app, workspaceId));
    if (failed instanceof AppError) {
      if (failed.code === 'secret_unreadable') throw failed;
      app.logger.warn({ code: failed.code, workspaceId }, 'not uninstalled');
      return problems({ '': 'Intercom did not answer. Nothing was changed: please try again.' });
    }
    await audit(request, 'uninstalled');
    return { kind: 'done', path: '/signin', flash: 'uninstalled', signsOut: true };
  },
});
