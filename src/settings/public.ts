import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { type Router, urlencoded } from 'express';
import { createRouter } from '../http/app.ts';
import { sendAsset } from '../http/assets.ts';
import type { Sessions } from '../workspaces/sessions.ts';
import { sendPublicPage } from './render.ts';

const ASSETS = join(import.meta.dirname, 'assets');
const LEGAL = join(import.meta.dirname, '..', '..', 'docs', 'legal');

const DOCUMENTS = [
  ['help', 'Help'],
  ['privacy', 'Privacy policy'],
  ['terms', 'Terms of service'],
] as const;

/** Serves everything outside the settings pages: start page, signing in and out, help and legal texts, and assets. */
export function publicRouter(sessions: Sessions): Router {
  const router = createRouter();
  const require = createRequire(import.meta.url);
  const pico = require.resolve('@picocss/pico/css/pico.jade.min.css');
  const ours = ['app.css', 'icon.svg', 'icon.png', 'settings.js'].map((name) => [name, join(ASSETS, name)]);
  for (const [name = '', path = ''] of [['pico.css', pico], ...ours]) {
    const content = readFileSync(path);
    router.get(`/assets/${name}`, (_req, res) => sendAsset(res, extname(name), content));
  }
  router.get(['/', '/signin'], (req, res) => sendPublicPage(req, res, { view: 'signin', title: 'Sign in' }));
  for (const [name, title] of DOCUMENTS) {
    const text = readFileSync(join(LEGAL, `${name}.html`), 'utf8');
    router.get(`/${name}`, (req, res) =>
      sendPublicPage(req, res, { view: 'document', title, data: { text } }),
    );
  }
  router.post(
    '/signout',
    sessions.requireSession,
    urlencoded({ extended: false, limit: 1_024 }),
    sessions.requireCsrf,
    async (req, res) => {
      await sessions.signOut(req, res);
      res.redirect(303, '/signin');
    },
  );
  return router;
}
