import express, { type ErrorRequestHandler, type Express, type RequestHandler, Router } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { errorHandler, unknownRoute } from './errors.ts';
import { requestLog } from './request-log.ts';
import { SECURITY_HEADERS } from './server.ts';

interface Mounted {
  readonly path: string;
  readonly handlers: readonly RequestHandler[];
}

/**
 * Mounts the routers of the capabilities behind security headers, request IDs, logging and one error handler.
 *
 * @param options.first handlers that go before everything, such as metrics
 * @param options.platformRoutes called often by platforms. They get no page headers, and a log line only on failure:
 *   both together took half as long as storing a webhook
 * @param options.otherRoutes everything else
 */
export function createApp(options: {
  logger: Logger;
  production: boolean;
  /** Forms may redirect to this origin: Intercom's own pages. */
  intercomAppUrl: string;
  /** Proxies whose `X-Forwarded-For` is trusted: addresses, subnets, or names such as `loopback`. */
  trustedProxies?: readonly string[];
  first?: readonly RequestHandler[];
  platformRoutes: readonly Mounted[];
  otherRoutes: readonly Mounted[];
}): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.enable('case sensitive routing');
  app.set('trust proxy', options.trustedProxies ?? []);
  const log = requestLog(options.logger);
  for (const handler of options.first ?? []) app.use(handler);
  const logged = options.logger.isLevelEnabled('debug') ? [log] : [];
  const secured = platformHeaders(options.production);
  for (const { path, handlers } of options.platformRoutes)
    app.use(path, secured, ...logged, ...handlers, logFailure(log));
  app.use(log, pageHeaders(options));
  for (const { path, handlers } of options.otherRoutes) app.use(path, ...handlers);
  app.use(unknownRoute);
  app.use(errorHandler(options.logger));
  return app;
}

/** A router that matches paths exactly: /Metrics or /metrics/ must not get past a proxy that hides /metrics. */
export function createRouter(): Router {
  return Router({ strict: true, caseSensitive: true });
}

const HSTS_SECONDS = 31_536_000;

/** Sets only the security headers that matter to a program. Helmet sets too many for routes called this often. */
function platformHeaders(production: boolean): RequestHandler {
  return (_req, res, next) => {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) res.setHeader(name, value);
    if (production) res.setHeader('Strict-Transport-Security', `max-age=${HSTS_SECONDS}; includeSubDomains`);
    next();
  };
}

function pageHeaders(options: { production: boolean; intercomAppUrl: string }): RequestHandler {
  const secured = helmet({
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
    strictTransportSecurity: options.production ? { maxAge: HSTS_SECONDS, includeSubDomains: true } : false,
    referrerPolicy: { policy: 'same-origin' },
    xFrameOptions: { action: 'deny' },
  });
  return (req, res, next) => {
    res.setHeader('Permissions-Policy', 'camera=(), geolocation=(), microphone=(), payment=(), usb=()');
    secured(req, res, next);
  };
}

/** Writes the log line of a request that gets one only when it fails. */
function logFailure(log: RequestHandler): ErrorRequestHandler {
  return (error: unknown, req, res, next) => {
    if ((req as { id?: unknown }).id === undefined) log(req, res, () => next(error));
    else next(error);
  };
}
