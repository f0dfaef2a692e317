import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { Router, urlencoded } from 'express';
import type { Sessions } from '../workspaces/sessions.ts';
import { sendPublicPage } from './render.ts';

const ASSETS = join(import.meta.dirname, 'assets');
const LEGAL = join(import.meta.dirname, '..', '..', 'docs', 'legal');

const DOCUMENTS = [
  ['help', 'Help'],
  ['privacy', 'Privacy policy'],
  ['terms', 'Terms of service'],
] as const;

/** What needs no session: the start page, signing in and out, help and legal texts, and assets. */
export function publicRouter(sessions: Sessions): Router {
  const router = Router({ strict: true, caseSensitive: true });
  // Compared by content at each page: after an upgrade none has the styles of another version.
  for (const asset of ['app.css', 'icon.svg', 'icon.png', 'settings.js']) {
    const content = readFileSync(join(ASSETS, asset));
    const etag = `"${createHash('sha256').update(content).digest('base64url')}"`;
    router.get(`/assets/${asset}`, (_req, res) =>
      res.set({ 'Cache-Control': 'no-cache', ETag: etag }).type(extname(asset)).send(content),
    );
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
