import { join } from 'node:path';
import { Eta } from 'eta';
import type { Request, Response } from 'express';
import { canChangeSettings } from '../workspaces/settings.ts';
import { parameter, type Visit } from './context.ts';
import { FLASHES } from './words.ts';

const eta = new Eta({ views: join(import.meta.dirname, 'views'), autoEscape: true, cache: true });

export type Section =
  | 'home'
  | 'revenuecat'
  | 'events'
  | 'contacts'
  | 'card'
  | 'grants'
  | 'messenger'
  | 'deliveries'
  | 'access'
  | 'data';

/** Sends a page of a signed-in admin. Pages show customers' data and are never kept by a cache. */
export function sendPage(
  req: Request,
  res: Response,
  page: {
    view: string;
    title: string;
    section: Section;
    visit: Visit;
    /** Problems with the form that was sent; the page then answers 422. */
    errors?: readonly string[];
    data: object;
  },
): void {
  const { session, workspace } = page.visit;
  const errors = page.errors ?? [];
  const html = eta.render(`./${page.view}`, {
    title: page.title,
    section: page.section,
    csrf: session.csrf,
    admin: session.admin,
    workspace: { name: workspace.name, id: workspace.workspaceId },
    changers: canChangeSettings(workspace.settings, session.admin.id)
      ? null
      : (workspace.settings.access.admins ?? []).map(({ name }) => name).join(', '),
    flash: FLASHES.get(parameter(req, 'done')) ?? null,
    errors,
    time: (at: Date | null): string => (at === null ? '' : formatTime(at, workspace.timezone)),
    ...page.data,
  });
  res
    .status(errors.length > 0 ? 422 : 200)
    .set('Cache-Control', 'no-store')
    .type('html')
    .send(html);
}

export function sendSignInPage(req: Request, res: Response): void {
  const flash = FLASHES.get(parameter(req, 'done')) ?? null;
  res
    .set('Cache-Control', 'no-store')
    .type('html')
    .send(eta.render('./signin', { title: 'Sign in', flash }));
}

/** `Jan 8, 2027 at 1:05PM`, in the workspace's time zone. */
function formatTime(at: Date, timeZone: string): string {
  const parts = new Intl.DateTimeFormat('en-US', {
    timeZone,
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: 'numeric',
    minute: '2-digit',
    hour12: true,
  }).formatToParts(at);
  const part = (type: Intl.DateTimeFormatPartTypes): string =>
    parts.find((each) => each.type === type)?.value ?? '';
  return `${part('month')} ${part('day')}, ${part('year')} at ${part('hour')}:${part('minute')}${part('dayPeriod')}`;
}
