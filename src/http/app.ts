import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import express, { type ErrorRequestHandler, type Express, type RequestHandler, type Router } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { verifyBodySignature } from '../intercom/signatures.ts';
import type { Drain } from './drain.ts';
import { errorHandler, unknownRoute } from './errors.ts';
import { rawJson } from './raw-body.ts';
import { requestLog } from './request-log.ts';
import { requireSignature } from './signed.ts';

const MAX_CANVAS_REQUEST_BYTES = 1024 * 1024;

interface Mounted {
  readonly path: string;
  readonly router: Router;
}

/**
 * The routers of the capabilities, by what proves a request to be genuine. `busy` and `signed` are called by
 * machines, and often: they get no headers for pages, and a log line only for what went wrong. Both together took
 * as long as half of storing a webhook.
 */
export interface Routers {
  /** Each checks its own proof. */
  readonly open: readonly Mounted[];
  /** Like `open`, for machines. */
  readonly busy?: readonly Mounted[];
  /** Behind `X-Body-Signature`. */
  readonly signed: readonly Mounted[];
}

/** Puts the capabilities' routers behind security headers, request ids, logging and one error handler. */
export function createApp(options: {
  logger: Logger;
  production: boolean;
  clientSecret: string;
  /** Where forms may lead: Intercom's own pages. */
  intercomAppUrl: string;
  drain?: Drain;
  /** Measures each request. */
  watch?: RequestHandler;
  routers: Routers;
}): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  // Behind one proxy, as on every common host; its address is only used in logs.
  app.set('trust proxy', 1);
  const log = requestLog(options.logger);
  if (options.drain) app.use(options.drain.watch);
  if (options.watch) app.use(options.watch);
  const verified = [
    rawJson(MAX_CANVAS_REQUEST_BYTES),
    requireSignature('X-Body-Signature', (body, header) =>
      verifyBodySignature(options.clientSecret, body, header),
    ),
  ];
  const logged = options.logger.isLevelEnabled('debug') ? [log] : [];
  for (const { path, router } of options.routers.busy ?? [])
    app.use(path, ...logged, router, logFailure(log));
  for (const { path, router } of options.routers.signed)
    app.use(path, ...logged, ...verified, router, logFailure(log));
  app.use(
    log,
    helmet({
      contentSecurityPolicy: {
        useDefaults: false,
        directives: {
          defaultSrc: ["'none'"],
          scriptSrc: ["'self'"],
          styleSrc: ["'self'"],
          imgSrc: ["'self'", 'data:'],
          connectSrc: ["'self'"],
          formAction: ["'self'", options.intercomAppUrl],
          frameAncestors: ["'none'"],
          baseUri: ["'none'"],
        },
      },
      strictTransportSecurity: options.production ? { maxAge: 31_536_000, includeSubDomains: true } : false,
      referrerPolicy: { policy: 'same-origin' },
    }),
  );
  app.get('/assets/pico.css', (_req, res) => {
    res.sendFile(picoCss(), { maxAge: '1d' });
  });
  for (const { path, router } of options.routers.open) app.use(path, router);
  app.use(unknownRoute);
  app.use(errorHandler(options.logger));
  return app;
}

/** The log line of a request that was not to have one unless it failed. */
function logFailure(log: RequestHandler): ErrorRequestHandler {
  return (error: unknown, req, res, next) => {
    if ((req as { id?: unknown }).id === undefined) log(req, res, () => next(error));
    else next(error);
  };
}

function picoCss(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve('@picocss/pico/package.json')), 'css', 'pico.classless.min.css');
}
