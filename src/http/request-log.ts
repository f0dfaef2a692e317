import { randomUUID } from 'node:crypto';
import type { Request, RequestHandler, Response } from 'express';
import type { Logger } from 'pino';
import { pinoHttp } from 'pino-http';

/** Gives every request an id; one that a proxy sent is kept when it looks like one. */
export function requestId(header: string | string[] | undefined): string {
  return typeof header === 'string' && /^[\w-]{8,64}$/.test(header) ? header : randomUUID();
}

/**
 * One line for each request, when it is answered: `debug` for success, for a client that disconnected and for a flood,
 * `info` for a client's error, `error` for ours. Paths carry no personal data; queries, headers and bodies may carry codes,
 * secrets and people, and are left out.
 */
export function requestLog(logger: Logger): RequestHandler {
  return pinoHttp<Request, Response>({
    logger,
    genReqId: (req) => requestId(req.headers['x-request-id']),
    customAttributeKeys: { reqId: 'requestId', responseTime: 'ms' },
    quietReqLogger: true,
    // The line itself has all that may be logged.
    serializers: { req: () => undefined, res: () => undefined },
    customLogLevel: levelOf,
    customSuccessMessage: () => 'answered',
    customErrorMessage: () => 'answered',
    customSuccessObject: (req, res, line: { ms?: number }) => fieldsOf(req, res, line.ms),
    customErrorObject: (req, res, _error, line: { ms?: number }) => fieldsOf(req, res, line.ms),
  });
}

function levelOf(_req: Request, res: Response): 'debug' | 'info' | 'error' {
  if (!res.writableFinished || res.locals?.isFlood) return 'debug';
  // Probes, and everything else while the database is unavailable: the error itself has a line of its own.
  if (res.statusCode >= 500) return res.statusCode === 503 ? 'info' : 'error';
  return res.statusCode >= 400 ? 'info' : 'debug';
}

function fieldsOf(req: Request, res: Response, ms: number | undefined): Record<string, unknown> {
  return {
    method: req.method,
    path: pathOf(req),
    status: res.statusCode,
    ms,
    workspaceId: workspaceOf(req, res),
    // The client disconnected before the response.
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
  const inPath = /^\/(?:webhooks\/revenuecat|support)\/(\w+)(?=[-/?]|$)/.exec(req.originalUrl)?.[1];
  const claimed = session?.workspaceId ?? body?.workspace_id ?? body?.app_id ?? inPath;
  return typeof claimed === 'string' && WORKSPACE_ID.test(claimed) ? claimed : undefined;
}
