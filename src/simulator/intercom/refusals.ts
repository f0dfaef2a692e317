import { randomUUID } from 'node:crypto';
import type { ErrorRequestHandler, Response } from 'express';
import { z } from 'zod';
import type { Admin, IntercomScope, IntercomState, Token, Workspace } from './state.ts';

interface RefusalDetails {
  readonly status: number;
  readonly code: string;
  readonly field?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

type Refusal = Error & { readonly refusal: RefusalDetails };

/** An error that becomes Intercom's `error.list`. Source: Intercom API 2.16, "Error codes". */
export function refusal(
  status: number,
  code: string,
  message: string,
  extra: Pick<RefusalDetails, 'field' | 'headers'> = {},
): Refusal {
  return Object.assign(new Error(message), { refusal: { status, code, ...extra } });
}

export const notFound = (message = 'Resource Not Found'): Refusal => refusal(404, 'not_found', message);

export const invalid = (message: string, field?: string): Refusal =>
  refusal(400, 'parameter_invalid', message, { field });

export function errorList(code: string, message: string, field?: string): Record<string, unknown> {
  return {
    type: 'error.list',
    request_id: randomUUID(),
    errors: [field === undefined ? { code, message } : { code, message, field }],
  };
}

export const answerRefusals: ErrorRequestHandler = (error: unknown, _req, res, next) => {
  if (res.headersSent) return next(error);
  const details = (error as Partial<Refusal> | null)?.refusal;
  if (details) {
    res.set(details.headers ?? {}).status(details.status);
    return void res.json(errorList(details.code, (error as Error).message, details.field));
  }
  const status = (error as { status?: unknown } | null)?.status;
  if (status === 400) return void res.status(400).json(errorList('parameter_invalid', 'Invalid JSON'));
  if (status === 413) return void res.status(413).json(errorList('client_error', 'Request body too large'));
  res.status(500).json(errorList('server_error', 'Internal Server Error'));
};

/** Checks a body; the first problem is answered as 400 `parameter_invalid` with the field's name. */
export function readBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue?.path.join('.') || undefined;
  throw invalid(`${field ? `${field}: ` : ''}${issue?.message ?? 'Invalid parameter'}`, field);
}

/** Times in requests; one in milliseconds is refused. */
export const unixSeconds = z.int().min(0).max(99_999_999_999);

/** What the request's token gives access to. */
export interface Session {
  readonly token: Token;
  readonly workspace: Workspace;
  readonly admin: Admin;
  readonly version: string;
}

export const sessionOf = (res: Response): Session => res.locals.session as Session;

/** Passed to every group of routes. */
export interface Context {
  readonly state: IntercomState;
  readonly now: () => number;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Sends a webhook to the app if its endpoint and the topic are registered. Does not wait. */
  readonly emit: (topic: string, workspaceId: string, item: Record<string, unknown>) => void;
  /** The app lost its access, by its own call or an admin's. */
  readonly notifyUninstall: (workspaceId: string) => void;
}

/**
 * The session, when its token has the scope and the workspace's plan includes the API.
 * Source: Intercom, "OAuth scopes" and "HTTP responses".
 */
export function requireScope(res: Response, scope: IntercomScope): Session {
  const session = sessionOf(res);
  const { planRefusal } = session.workspace;
  // An older connector has received 402, which is not in today's table.
  if (planRefusal !== null) throw refusal(planRefusal, 'api_plan_restricted', 'Active subscription needed.');
  if (!session.token.scopes.has(scope)) {
    throw refusal(403, 'forbidden', `You do not have the required scope (${scope})`);
  }
  return session;
}
