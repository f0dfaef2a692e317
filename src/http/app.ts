import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import express, { type Express, type Router } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { pinoHttp } from 'pino-http';
import { verifyBodySignature } from '../intercom/signatures.ts';
import { errorHandler, requestId, unknownRoute } from './errors.ts';
import { rawJson } from './raw-body.ts';
import { requireSignature } from './signed.ts';

const LARGEST_CANVAS_REQUEST_BYTES = 1024 * 1024;

/** The routers of the capabilities, by what proves a request to be genuine. */
export interface Routers {
  /** Each checks its own proof. */
  readonly open: readonly { readonly path: string; readonly router: Router }[];
  /** Behind `X-Body-Signature`. */
  readonly signed: readonly { readonly path: string; readonly router: Router }[];
}

/** Puts the capabilities' routers behind security headers, request ids, logging and one error handler. */
export function createApp(options: {
  logger: Logger;
  production: boolean;
  clientSecret: string;
  /** Where forms may lead: Intercom's own pages. */
  intercomAppUrl: string;
  routers: Routers;
}): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  // Behind one proxy, as on every common host; its address is only used in logs.
  app.set('trust proxy', 1);
  app.use(
    pinoHttp({
      logger: options.logger,
      genReqId: (req) => requestId(req.headers['x-request-id']),
      customLogLevel: (_req, res, error) => (error || res.statusCode >= 500 ? 'error' : 'debug'),
      // Paths carry no personal data; queries and headers may carry codes and secrets.
      serializers: {
        req: (req: { id: unknown; method: string; url: string }) => ({
          id: req.id,
          method: req.method,
          path: req.url.split('?')[0],
        }),
        res: (res: { statusCode: number }) => ({ status: res.statusCode }),
      },
    }),
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
  const signed = [
    rawJson(LARGEST_CANVAS_REQUEST_BYTES),
    requireSignature('X-Body-Signature', (body, header) =>
      verifyBodySignature(options.clientSecret, body, header),
    ),
  ];
  for (const { path, router } of options.routers.signed) app.use(path, ...signed, router);
  app.use(unknownRoute);
  app.use(errorHandler(options.logger));
  return app;
}

function picoCss(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve('@picocss/pico/package.json')), 'css', 'pico.classless.min.css');
}
