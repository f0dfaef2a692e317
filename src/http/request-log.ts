import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Request, RequestHandler, Response } from 'express';
import type { Logger } from 'pino';
import { pinoHttp } from 'pino-http';

/** Gives every request an id; one that a proxy sent is kept when it looks like one. */
export function requestId(header: string | string[] | undefined): string {
  return typeof header === 'string' && /^[\w-]{8,64}$/.test(header) ? header : randomUUID();
}

/**
 * One line a request, when it is answered: `debug` where all is well, `info` for what a caller did wrong, `error`
 * for what we did. Paths carry no personal data; queries, headers and bodies may carry codes, secrets and people,
 * and are left out.
 */
export function requestLog(logger: Logger): RequestHandler {
  return pinoHttp<Request, Response>({
    logger,
    genReqId: (req) => requestId(req.headers['x-request-id']),
    customAttributeKeys: { reqId: 'requestId', responseTime: 'ms' },
    quietReqLogger: true,
    // What may be told is in the line itself.
    serializers: { req: () => undefined, res: () => undefined },
    customLogLevel: levelOf,
    customSuccessMessage: () => 'answered',
    customErrorMessage: () => 'answered',
    customSuccessObject: (req, res, line: { ms?: number }) => describe(req, res, line.ms),
    customErrorObject: (req, res, _error, line: { ms?: number }) => describe(req, res, line.ms),
  });
}

function levelOf(req: IncomingMessage, res: ServerResponse): 'debug' | 'info' | 'error' {
  // Probes that find us stopping, or without the database, come every second.
  if (res.statusCode >= 500) return req.url === '/readyz' ? 'info' : 'error';
  return res.statusCode >= 400 ? 'info' : 'debug';
}

function describe(req: Request, res: Response, ms: number | undefined): Record<string, unknown> {
  return {
    method: req.method,
    path: pathOf(req),
    status: res.statusCode,
    ms,
    workspaceId: workspaceOf(req, res),
    // A client that gave up before the answer.
    ...(res.writableFinished ? {} : { aborted: true }),
  };
}

/** A path that none of our routes has may hold anything. */
function pathOf(req: Request): string {
  const path = req.originalUrl.split('?')[0] ?? '';
  return /^[\w./~-]{1,200}$/.test(path) ? path : '…';
}

const WORKSPACE_ID = /^\w{1,64}$/;

/** The workspace that a request is about: of its session, of a signed body, or of its address. */
export function workspaceOf(req: Request, res: Response): string | undefined {
  const session = res.locals?.session as { workspaceId?: unknown } | undefined;
  const body = req.body as { workspace_id?: unknown; app_id?: unknown } | undefined;
  const inPath = /^\/(?:webhooks\/revenuecat|support)\/(\w+)/.exec(req.originalUrl)?.[1];
  const claimed = session?.workspaceId ?? body?.workspace_id ?? body?.app_id ?? inPath;
  return typeof claimed === 'string' && WORKSPACE_ID.test(claimed) ? claimed : undefined;
}
