import { randomUUID } from 'node:crypto';
import type { Request, RequestHandler, Response } from 'express';
import type { Logger } from 'pino';
import { pinoHttp } from 'pino-http';

/** Gives every request an id; one that a proxy sent is kept when it looks like one. */
export function requestId(header: string | string[] | undefined): string {
  return typeof header === 'string' && /^[\w-]{8,64}$/.test(header) ? header : randomUUID();
}

/**
 * Logs one line for each request, when it is answered: `debug` for success, for a client that disconnected and for a
 * flood, `info` for a client's error, `error` for ours. Paths contain no personal data. Queries, headers and bodies may
 * contain codes, secrets and personal data, and are left out.
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
  // 503 is sent to probes and, while the database is unavailable, to all. That outage has its own line in the log.
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

/** A path that matches none of our routes may contain anything. */
function pathOf(req: Request): string {
  const path = req.originalUrl.split('?')[0] ?? '';
  return /^[\w./~-]{1,200}$/.test(path) ? path : '…';
}

const WORKSPACE_ID = /^\w{1,64}$/;

/** The workspace that a request is about, according to its session, its body or its path. */
export function workspaceOf(req: Request, res: Response): string | undefined {
  const session = res.locals?.session as { workspaceId?: unknown } | undefined;
  const body = req.body as { workspace_id?: unknown; app_id?: unknown } | undefined;
  const inPath = /^\/(?:webhooks\/revenuecat|support)\/(\w+)(?=[-/?]|$)/.exec(req.originalUrl)?.[1];
  const claimed = session?.workspaceId ?? body?.workspace_id ?? body?.app_id ?? inPath;
  return typeof claimed === 'string' && WORKSPACE_ID.test(claimed) ? claimed : undefined;
}
