import type { Router } from 'express';
import { createRouter } from '../http/app.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Sessions } from '../workspaces/sessions.ts';
import { accessPage, signOutPage } from './access.ts';
import { auditPage } from './audit.ts';
import { bulkGrantsPage, undoBulkGrantPage } from './bulk-grants.ts';
import { cardPage } from './card.ts';
import { contactsPage } from './contacts.ts';
import { dataPage, uninstallPage } from './data.ts';
import { deliveriesPage, deliveryPage } from './deliveries.ts';
import { eventsPage } from './events.ts';
import { grantsPage } from './grants.ts';
import { homePage } from './home.ts';
import { cancelImportPage, importPage } from './import.ts';
import { messengerPage, removeSecretPage, revokeKeyPage } from './messenger.ts';
import type { Menu, Page } from './page.ts';
import { pagesRouter } from './pages-router.ts';
import { publicRouter } from './public.ts';
import { disconnectPage, newWebhookPage, revenueCatPage } from './revenuecat.ts';
import { usePage } from './use.ts';

/** The sidebar: pages by their group. A new page is one file, one view, and one entry here or in `PAGES`. */
const MENU: Menu = [
  ['', [homePage]],
  ['Setup', [revenueCatPage, importPage, eventsPage, contactsPage, usePage]],
  ['Inbox', [cardPage, grantsPage]],
  ['Messenger', [messengerPage]],
  ['Activity', [deliveriesPage, auditPage]],
  ['Workspace', [accessPage, dataPage]],
];

/** The pages of the sidebar, and the pages that they lead to. */
const PAGES: readonly Page[] = [
  ...MENU.flatMap(([, pages]) => pages),
  disconnectPage,
  newWebhookPage,
  cancelImportPage,
  bulkGrantsPage,
  undoBulkGrantPage,
  removeSecretPage,
  revokeKeyPage,
  deliveryPage,
  signOutPage,
  uninstallPage,
];

/** Size limits in bytes of the forms that may send more than others, by path. */
export const LARGE_FORMS: Readonly<Record<string, number>> = Object.fromEntries(
  PAGES.flatMap(({ path, maxFormBytes, forms = {} }) =>
    maxFormBytes === undefined
      ? []
      : Object.keys(forms).map((form) => [`/settings${path}${form}`, maxFormBytes]),
  ),
);

/** The settings of a workspace's admins: plain HTML forms that work without JavaScript. Mounted at `/`. */
export function settingsRouter(app: AppContext, sessions: Sessions): Router {
  const router = createRouter();
  router.use(publicRouter(sessions));
  router.use('/settings', pagesRouter({ app, sessions, menu: MENU }, PAGES));
  return router;
}
