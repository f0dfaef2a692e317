import { createHmac } from 'node:crypto';
import type { Router } from 'express';
import { notFound } from '../errors.ts';
import { createRouter } from '../http/app.ts';
import { type Component, text } from '../intercom/canvas.ts';
import { MAX_PICTURE_EVENTS, type Picture, pictureOf } from '../subscription/picture.ts';
import { markWithinCustomer } from '../subscription/transfers.ts';
import { equalInConstantTime } from '../text.ts';
import { MINUTE_MS } from '../time.ts';
import type { CardApp } from './context.ts';
import { type Customer, type CustomerContext, loadCustomer } from './customer.ts';
import { drawPng, LEGEND, PICTURE_HEIGHT, PICTURE_WIDTH } from './picture-png.ts';
import { readTimeline } from './timeline-repository.ts';

/** A picture's address stays the same this long, so that browsers can cache it; it is valid up to twice as long. */
const VALID_MS = 10 * MINUTE_MS;

/**
 * The picture of the subscription, with the legend of what is drawn, which is also its alternative text: Canvas Kit has
 * no field for one. Intercom loads images over HTTPS only.
 */
export async function pictureComponents(context: CustomerContext): Promise<Component[]> {
  const { customer, messages: m, request, app, workspace } = context;
  const { subscriberId, state, fallbackEvents } = customer;
  if (!workspace.settings.card.picture || !app.config.picturesUrl.startsWith('https://')) return [];
  if (state.subscriptions.length + state.grants.length === 0) return [];
  const picture = await readPicture(app, customer);
  if (picture === null) return [];
  const expiresAtMs = (Math.floor(app.now() / VALID_MS) + 2) * VALID_MS;
  // The version changes with what is drawn, so that a browser loads it again.
  const version = `${customer.version}-${fallbackEvents.length}`;
  const path = `/pictures/${encodeURIComponent(request.workspaceId)}/${subscriberId}/${version}/${expiresAtMs}`;
  const url = `${app.config.picturesUrl}${path}/${signatureOf(app.pictureKey, path)}.png`;
  const size = { width: PICTURE_WIDTH, height: PICTURE_HEIGHT };
  const drawn = new Set<string>([...picture.segments, ...picture.markers].map(({ kind }) => kind));
  const legend = LEGEND.filter((kind) => drawn.has(kind)).map((kind) => m.t(`card.picture.${kind}`));
  return [
    { type: 'image', url, ...size, align: 'full_width', bottom_margin: 'none' },
    text(legend.join('  '), 'muted'),
  ];
}

function signatureOf(key: string, path: string): string {
  return createHmac('sha256', key).update(path).digest('base64url');
}

/** Mounted at `/pictures`: the agent's browser loads pictures without a session, by their signed address. */
export function pictureRouter(app: CardApp): Router {
  const { pictureKey, now } = app;
  const router = createRouter();
  router.get('/:workspaceId/:subscriberId/:version/:expiresAtMs/:signature.png', async (req, res) => {
    const { workspaceId, subscriberId, signature } = req.params;
    const path = `${req.baseUrl}${req.path}`;
    const signed = signatureOf(pictureKey, path.slice(0, path.lastIndexOf('/')));
    const validMs = Number(req.params.expiresAtMs) - now();
    const isValid = equalInConstantTime(signature, signed) && validMs > 0;
    const png = isValid ? await drawIfShown(app, workspaceId, subscriberId) : null;
    if (png === null) throw notFound('No such picture, or its address has expired. Open the timeline again.');
    res.set({
      'Cache-Control': `private, max-age=${Math.floor(validMs / 1_000)}, immutable`,
      // Intercom's pages, which show the picture, are another site.
      'Cross-Origin-Resource-Policy': 'cross-origin',
    });
    res.type('png').send(png);
  });
  return router;
}

/** `null`: switched off, uninstalled, merged into another subscriber, or nothing to draw. */
async function drawIfShown(app: CardApp, workspaceId: string, subscriberId: string) {
  const record = await app.cards.readSubscriber(workspaceId, subscriberId);
  const [candidate] = record?.candidates ?? [];
  if (!record?.workspace.settings.card.picture || record.workspace.status === 'uninstalled' || !candidate)
    return null;
  const picture = await readPicture(app, await loadCustomer(app, candidate));
  return picture && drawPng(picture, record.workspace.timezone);
}

/** Only what can be drawn is read: with 5,000 events the whole history took 340 ms of processor time. */
async function readPicture(
  { readDatabase, now }: CardApp,
  { sources, project, appUserIds, state, fallbackEvents }: Customer,
): Promise<Picture | null> {
  const newest = await readTimeline(readDatabase, project.workspaceId, {
    sources,
    kinds: null,
    environment: 'production',
    from: null,
    limit: MAX_PICTURE_EVENTS,
  });
  const stored = newest.map(({ entry }) => markWithinCustomer(entry, appUserIds)).reverse();
  return pictureOf([...stored, ...fallbackEvents], state, now());
}
