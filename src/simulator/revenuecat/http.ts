import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import type { z } from 'zod';
import type { Customer, Project, RevenueCatEvent, RevenueCatState } from './state.ts';

const MAX_CUSTOMER_ID_LENGTH = 1_500;
const TYPES: Readonly<Record<number, string>> = {
  400: 'parameter_error',
  401: 'authentication_error',
  403: 'authorization_error',
  404: 'resource_missing',
  409: 'resource_already_exists',
  422: 'unprocessable_entity_error',
  423: 'resource_locked_error',
  429: 'rate_limit_error',
};

interface ErrorDetails {
  /** Default: the type that belongs to the status. */
  readonly type?: string | undefined;
  readonly param?: string | undefined;
  readonly backoffMs?: number | undefined;
}

/** Source: RevenueCat API v2, "Errors": only retryable errors have `backoff_ms`, one second in the examples. */
export function errorBody(
  status: number,
  message: string,
  { type = TYPES[status] ?? 'server_error', param, backoffMs = 1_000 }: ErrorDetails = {},
): Record<string, unknown> {
  const retryable = status === 423 || status === 429 || status >= 500;
  return {
    object: 'error',
    type,
    message,
    retryable,
    doc_url: `https://errors.rev.cat/${type.replaceAll('_', '-')}`,
    ...(param === undefined ? {} : { param }),
    ...(retryable ? { backoff_ms: backoffMs } : {}),
  };
}

type Refusal = Error & { refusal: ErrorDetails & { status: number } };

/** An error that becomes RevenueCat's error object. */
export function refusal(status: number, message: string, extra: ErrorDetails = {}): Refusal {
  return Object.assign(new Error(message), { refusal: { status, ...extra } });
}

export const missing = (message = 'Resource not found'): Refusal => refusal(404, message);

export const answerRefusals: ErrorRequestHandler = (error: unknown, _req, res, next) => {
  if (res.headersSent) return next(error);
  const details = (error as Partial<Refusal> | null)?.refusal;
  if (details) {
    if (details.backoffMs !== undefined) res.set('Retry-After', String(Math.ceil(details.backoffMs / 1_000)));
    return void res.status(details.status).json(errorBody(details.status, (error as Error).message, details));
  }
  const status = (error as { status?: unknown } | null)?.status;
  if (status === 400)
    return void res.status(400).json(errorBody(400, 'Malformed request', { type: 'invalid_request' }));
  res.status(500).json(errorBody(500, 'Internal server error'));
};

export function readBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw refusal(400, issue?.message ?? 'Invalid parameter', { param: issue?.path.join('.') || undefined });
}

export interface Session {
  readonly key: string;
  readonly projectId: string;
  readonly scopes: readonly string[];
}

export interface Context {
  readonly state: RevenueCatState;
  readonly now: () => number;
  /** Stores events of a customer and sends them a little later. */
  readonly announce: (project: Project, customer: Customer, events: readonly RevenueCatEvent[]) => void;
}

/** Scopes match part by part; a wildcard matches any part, and `read_write` includes `read`. */
function covers(granted: string, asked: string): boolean {
  const given = granted.split(':');
  const wanted = asked.split(':');
  if (given.length === 1 && given[0] === '*') return true;
  return (
    given.length === wanted.length &&
    given.every((part, index) => part === '*' || part === wanted[index] || part === `${wanted[index]}_write`)
  );
}

/** The project of the path, when the request's key belongs to it and has the scope. */
export function requireProject(context: Context, req: Request, res: Response, scope: string): Project {
  const session = res.locals.session as Session;
  requireScope(session, scope);
  const projectId = String(req.params.projectId);
  const project = context.state.projects.get(projectId);
  // Source: RevenueCat API v2, "Error Types": `authorization_error` is for a key of another project.
  if (!project || session.projectId !== projectId)
    throw refusal(403, "You're not authorized to access this resource");
  return project;
}

export function requireScope(session: Session, scope: string): void {
  if (!session.scopes.some((granted) => covers(granted, scope))) {
    throw refusal(403, `The API key does not have the required permission ${scope}`);
  }
}

export function requireCustomer(project: Project, req: Request): Customer {
  const id = String(req.params.customerId);
  if (id.length > MAX_CUSTOMER_ID_LENGTH) throw refusal(400, 'id is too long', { param: 'customer_id' });
  const customer = project.aliases.get(id);
  if (!customer) throw missing();
  return customer;
}

/** Counts calls per key, domain and minute. Source: RevenueCat API v2, "Authentication" and "Rate limits". */
export function authenticate(context: Context): RequestHandler {
  const windows = new Map<string, { minute: number; used: number }>();
  return (req, res, next) => {
    const key = /^Bearer (\S+)$/.exec(req.get('authorization') ?? '')?.[1];
    const apiKey = key === undefined ? undefined : context.state.keys.get(key);
    if (key === undefined || apiKey?.status !== 'valid') throw refusal(401, 'Invalid API key');
    res.locals.session = { key, projectId: apiKey.projectId, scopes: apiKey.scopes } satisfies Session;

    const domain = /\/(customers|subscriptions|purchases)(\/|$)/.test(req.path)
      ? 'customer'
      : 'configuration';
    const limit = context.state.limitsPerMinute[domain];
    const nowMs = context.now();
    const minute = Math.floor(nowMs / 60_000);
    const window = windows.get(`${key} ${domain}`);
    const current = window?.minute === minute ? window : { minute, used: 0 };
    windows.set(`${key} ${domain}`, current);
    const isOver = current.used >= limit;
    if (!isOver) current.used += 1;
    res.set({
      'RevenueCat-Rate-Limit-Current-Usage': String(current.used),
      'RevenueCat-Rate-Limit-Current-Limit': String(limit),
    });
    if (isOver) throw refusal(429, 'Rate limit exceeded', { backoffMs: (minute + 1) * 60_000 - nowMs });
    next();
  };
}

/** Accepts only JSON. A call without a body needs no content type. */
export const requireJson: RequestHandler = (req, _res, next) => {
  // `null`: no body.
  if (req.is('application/json') === false && req.headers['content-length'] !== '0')
    throw refusal(400, 'Content-Type not application/json', { type: 'invalid_request' });
  next();
};

/** One page of a list: `limit` is 1 to 100, `starting_after` an ID. Like real responses, it has absolute URLs. */
export function listPage<T extends { readonly id: string }>(
  req: Request,
  items: readonly T[],
  view: (item: T) => unknown,
): Record<string, unknown> {
  const limit = req.query.limit === undefined ? 20 : Number(req.query.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > 100) {
    throw refusal(400, 'limit must be between 1 and 100', { param: 'limit' });
  }
  const after = req.query.starting_after;
  const at = typeof after === 'string' ? items.findIndex(({ id }) => id === after) : -1;
  if (after !== undefined && at < 0)
    throw refusal(400, 'starting_after is unknown', { param: 'starting_after' });
  const page = items.slice(at + 1, at + 1 + limit);
  const last = page.at(-1);
  const url = new URL(req.originalUrl, `${req.protocol}://${req.get('host')}`);
  const base = `${url.origin}${url.pathname}`;
  if (last !== undefined) url.searchParams.set('starting_after', last.id);
  return {
    object: 'list',
    items: page.map(view),
    next_page: last !== undefined && at + 1 + page.length < items.length ? url.href : null,
    url: base,
  };
}
