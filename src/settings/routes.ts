import { join } from 'node:path';
import { Router, urlencoded } from 'express';
import { addAccessPage, requireChanger } from './access.ts';
import { addCardPage } from './card.ts';
import { addContactPages } from './contacts.ts';
import type { SettingsContext } from './context.ts';
import { addDataPages } from './data.ts';
import { addDeliveryPages } from './deliveries.ts';
import { addEventPages } from './events.ts';
import { addGrantPages } from './grants.ts';
import { addHomePage } from './home.ts';
import { addImportPages } from './import.ts';
import { addMessengerPages } from './messenger.ts';
import { sendSignInPage } from './render.ts';
import { addRevenueCatPages } from './revenuecat.ts';

const MAX_FORM_BYTES = 64 * 1024;
const ASSETS = join(import.meta.dirname, 'assets');

/**
 * The pages where an admin of a workspace sets the app up: plain HTML forms that work without JavaScript.
 * Mounted at `/`: `/signin`, `/signout`, `/settings…`, and the pages' own assets.
 */
export function settingsRouter(context: SettingsContext): Router {
  const { requireSession, requireCsrf } = context.sessions;

  const pages = Router();
  pages.use(requireSession);
  pages.post(
    '/{*path}',
    urlencoded({ extended: false, limit: MAX_FORM_BYTES, parameterLimit: 500 }),
    requireCsrf,
    requireChanger(context),
  );
  addHomePage(pages, context);
  addRevenueCatPages(pages, context);
  addImportPages(pages, context);
  addEventPages(pages, context);
  addContactPages(pages, context);
  addCardPage(pages, context);
  addGrantPages(pages, context);
  addMessengerPages(pages, context);
  addDeliveryPages(pages, context);
  addAccessPage(pages, context);
  addDataPages(pages, context);

  const router = Router();
  for (const asset of ['app.css', 'icon.svg', 'settings.js', 'copy.js', 'import.js']) {
    router.get(`/assets/${asset}`, (_req, res) => {
      res.sendFile(join(ASSETS, asset), { maxAge: '1h' });
    });
  }
  router.get('/signin', (req, res) => sendSignInPage(req, res));
  router.post(
    '/signout',
    requireSession,
    urlencoded({ extended: false, limit: MAX_FORM_BYTES }),
    requireCsrf,
    async (req, res) => {
      await context.sessions.signOut(req, res);
      res.redirect(303, '/signin');
    },
  );
  router.use('/settings', pages);
  return router;
}
