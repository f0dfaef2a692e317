import escapeHtml from 'escape-html';
import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import type { Logger } from 'pino';
import {
  AppError,
  databaseUnavailable,
  isDatabaseUnavailable,
  isUnstorableText,
  notFound,
} from '../errors.ts';
import { createOutageLog } from '../logger.ts';
import { isLarge } from './body.ts';
import { workspaceOf } from './request-log.ts';

const RETRY_AFTER_S = 5;
/** More refusals per second than this count as a flood. */
const MAX_REFUSALS_PER_SECOND = 100;
/** The delay of each refusal during a flood, so that each of its connections sends few requests, ms. */
const FLOOD_DELAY_MS = 2_000;
/** At most this many refusals are delayed, because one connection can send many requests. */
const MAX_DELAYED = 1_000;
/** How long a connection stays open after the response while its sender still sends the body, ms. */
const LINGER_MS = 2_000;

export const unknownRoute: RequestHandler = (_req, _res, next) => {
  next(notFound('Check the address'));
};

/** Replaces messages that are only for the log: a driver's may quote a value, others name a workspace. */
const PUBLIC_MESSAGES: Partial<Record<AppError['code'], string>> = {
  internal: 'Internal error',
  secret_unreadable: 'The server cannot decrypt a secret. Its operator must add the missing encryption key.',
};

/** Turns every failure into a response: JSON for machines, a page for browsers (`res.locals.errorPage`, if set). */
export function errorHandler(logger: Logger): ErrorRequestHandler {
  const delayed = createFloodDelay();
  const logOutage = createOutageLog((about) => logger.error(about, 'database unavailable: requests get 503'));
  return (thrown: unknown, req, res, next) => {
    if (res.headersSent) return next(thrown);
    const error = toAppError(thrown);
    const id = String((req as { id?: unknown }).id ?? '');
    const isRefusal = error.status < 500 || error.code === 'overloaded';
    // A refusal is logged once per request already, at info.
    if (error.code === 'database_unavailable') logOutage(thrown);
    else if (!isRefusal) {
      const about = { requestId: id, workspaceId: workspaceOf(req, res), code: error.code };
      logger.error({ err: thrown, ...about }, 'request failed');
    }
    if (error.status === 503) res.setHeader('Retry-After', String(RETRY_AFTER_S));
    res.status(error.status);
    const message = PUBLIC_MESSAGES[error.code] ?? error.message;
    const ownPage: typeof errorPage | undefined = res.locals.errorPage;
    // A route with its own page is opened by people, who get that page even if the browser accepts any type.
    const isPage = req.accepts(ownPage ? ['html', 'json'] : ['json', 'html']) === 'html';
    const body = isPage
      ? (ownPage ?? errorPage)(error, message, id)
      : JSON.stringify({ error: { code: error.code, message, request_id: id } });
    res.type(isPage ? 'html' : 'json');
    if (isRefusal) delayed(res, () => sendWithoutReading(req, res, body));
    else sendWithoutReading(req, res, body);
  };
}

/**
 * Delays refusals of a flood and leaves them out of the log. There is no limit per IP address, because all requests,
 * valid ones included, may come through one proxy.
 */
function createFloodDelay(): (res: Response, send: () => void) => void {
  let secondStartedMs = 0;
  let refusals = 0;
  let waiting = 0;
  return (res, send) => {
    const nowMs = performance.now();
    if (nowMs - secondStartedMs > 1_000) {
      secondStartedMs = nowMs;
      refusals = 0;
    }
    refusals += 1;
    res.locals.isFlood = refusals > MAX_REFUSALS_PER_SECOND;
    if (!res.locals.isFlood || waiting >= MAX_DELAYED) return send();
    waiting += 1;
    setTimeout(() => {
      waiting -= 1;
      send();
    }, FLOOD_DELAY_MS).unref();
  };
}

/**
 * Sends the response. The rest of a large body is not read: the connection is closed, but only after the sender had
 * time to see the response, which an immediate close would destroy.
 */
function sendWithoutReading(req: Request, res: Response, body: string): void {
  if (req.complete || !isLarge(req)) {
    res.send(body);
    return;
  }
  res.set({ Connection: 'close', 'Content-Length': String(Buffer.byteLength(body)) });
  res.write(body);
  setTimeout(() => res.end(), LINGER_MS).unref();
}

function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  if (isDatabaseUnavailable(thrown)) return databaseUnavailable(thrown);
  if (isUnstorableText(thrown))
    return new AppError('bad_request', 'A text contains a character that cannot be stored', {
      cause: thrown,
    });
  // Express's own errors (a malformed URL, a form that is too large) carry their status.
  const status = (thrown as { status?: unknown } | null)?.status;
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new AppError('bad_request', 'The request is malformed', { status });
  return new AppError('internal', 'Internal error', { cause: thrown });
}

function errorPage({ status }: AppError, message: string, id: string): string {
  const heading = errorHeading(status);
  const sentence = /[.!?]$/.test(message) ? message : `${message}.`;
  // The link opens another tab, because reloading this page after signing in sends the form again.
  const link = status === 401 ? ' target="_blank">Open the settings in another tab' : '>Back to the settings';
  return `<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>${heading} · Subscription Timeline</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/pico.css"><link rel="stylesheet" href="/assets/app.css"></head>
<body><main class="frame narrow"><article><img src="/assets/icon.svg" alt="" width="48" height="48">
<h1>${heading}</h1><p>${escapeHtml(sentence)}</p><p><a class="action" href="/settings"${link}</a></p></article>
<p><small>Request ID for support: ${escapeHtml(id)}</small></p></main></body></html>`;
}

function errorHeading(status: number): string {
  if (status === 404) return 'Page not found';
  if (status === 401 || status === 403) return 'Not allowed';
  if (status === 429 || status === 503) return 'Please try again soon';
  return 'Something went wrong';
}
