/**
 * Every error of the app. Codes are stable: they appear in responses, in logs, in the delivery log and on the settings
 * pages. What to do next is in `remedy`, never guessed from a message.
 */

/** What the caller must do before the same work can succeed. */
export type Remedy =
  /** Retry by the backoff schedule. */
  | { readonly kind: 'retry' }
  /** Retry, not before this time (epoch ms), without using up a retry. */
  | { readonly kind: 'wait_until'; readonly atMs: number }
  /** The platform rejects our credentials; an admin must connect it again. */
  | { readonly kind: 'reauthorize' }
  /** The contact is unknown to Intercom; wait until it appears. */
  | { readonly kind: 'wait_for_contact' }
  | { readonly kind: 'follow_contact'; readonly contactId: string }
  /** A retry cannot help. */
  | { readonly kind: 'give_up' };

/** Whether the same work may succeed later without anyone's help. */
export function mayPass(remedy: Remedy): remedy is Extract<Remedy, { kind: 'retry' | 'wait_until' }> {
  return remedy.kind === 'retry' || remedy.kind === 'wait_until';
}

/** Every code with the HTTP status of our response. */
const STATUS = {
  bad_request: 400,
  invalid_json: 400,
  unsupported_media_type: 415,
  payload_too_large: 413,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  rate_limited: 429,
  api_key_missing: 401,
  api_key_invalid: 401,
  api_key_revoked: 401,
  api_key_kind: 403,
  messenger_secret_missing: 409,
  user_id_missing: 400,
  user_id_invalid: 400,
  user_id_blocked: 400,
  email_invalid: 400,
  name_invalid: 400,
  locale_invalid: 400,
  link_invalid: 401,
  link_expired: 401,
  database_unavailable: 503,
  overloaded: 503,
  secret_unreadable: 503,
  internal: 500,
  intercom_unauthorized: 502,
  intercom_scope_missing: 502,
  intercom_plan_restricted: 502,
  intercom_not_found: 404,
  intercom_contact_merged: 404,
  intercom_rate_limited: 503,
  intercom_rejected: 502,
  intercom_attribute_missing: 502,
  intercom_event_limit: 502,
  intercom_unavailable: 502,
  revenuecat_unauthorized: 502,
  revenuecat_scope_missing: 502,
  revenuecat_not_found: 404,
  revenuecat_conflict: 409,
  revenuecat_locked: 503,
  revenuecat_rate_limited: 503,
  revenuecat_rejected: 502,
  revenuecat_unavailable: 502,
} as const;

export type ErrorCode = keyof typeof STATUS;

/** `message` may be shown to an admin: it never contains a secret. */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly remedy: Remedy;
  /** The HTTP status of the platform's response; `null`: there was none. */
  readonly upstreamStatus: number | null;
  /** The platform's response, truncated. Only for the delivery log: it may contain personal data. */
  readonly upstreamAnswer: string | null;

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      /** Overrides the status of the code. */
      status?: number;
      remedy?: Remedy;
      upstreamStatus?: number;
      upstreamAnswer?: string | null;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? STATUS[code];
    this.remedy = options.remedy ?? { kind: 'give_up' };
    this.upstreamStatus = options.upstreamStatus ?? null;
    this.upstreamAnswer = options.upstreamAnswer ?? null;
  }
}

export function badRequest(message: string): AppError {
  return new AppError('bad_request', message);
}

export function unauthorized(message: string): AppError {
  return new AppError('unauthorized', message);
}

export function forbidden(message: string): AppError {
  return new AppError('forbidden', message);
}

export function databaseUnavailable(cause?: unknown): AppError {
  return new AppError('database_unavailable', 'Database unavailable. Try again.', { cause });
}

export function notFound(message: string): AppError {
  return new AppError('not_found', message);
}

/** Waits for work and returns an `AppError` instead of throwing it. */
export async function answerOrError<T>(work: Promise<T>): Promise<T | AppError> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

/** Whether a call fails because the platform rejects our credentials. */
export async function isRefused(call: Promise<unknown>): Promise<boolean> {
  const answer = await answerOrError(call);
  if (!(answer instanceof AppError)) return false;
  if (answer.remedy.kind === 'reauthorize') return true;
  throw answer;
}

/** Waits for work; returns `null` if it fails with this code. */
export async function nullOn<T>(code: ErrorCode, work: Promise<T>): Promise<T | null> {
  const answer = await answerOrError(work);
  if (!(answer instanceof AppError)) return answer;
  if (answer.code === code) return null;
  throw answer;
}

/** The code that Node, PostgreSQL's driver or this app sets on an error; `undefined`: it has none. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/**
 * SQLSTATE classes and codes that mean "the database is unavailable", not "the query is wrong" (PostgreSQL,
 * appendix A): no connection (08, 28 refused user, 3D000 no such database), no disk, memory or connection (53, 58),
 * stopped or cancelled (57), a lock that was not free in time (55), a standby (25006), a transaction that was idle
 * (25P03) or open (25P04) for longer than the server allows.
 */
const UNAVAILABLE_STATES = /^(08|28|3D|53|55|57|58)...$|^25(006|P0[34])$/;
/** Error codes of sockets, DNS and TLS. */
const CONNECTION_ERRNOS =
  /^(ECONN(REFUSED|RESET|ABORTED)|EPIPE|ETIMEDOUT|ENOENT|ENOTFOUND|EAI_AGAIN|E(HOST|NET)(UNREACH|DOWN))$|_CERT(_|$)|^(CERT|UNABLE_TO_VERIFY)_/;

const NO_CONNECTION =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client .* and is not queryable)/;

/** Whether an error of the database driver means that the database is unavailable and the work may be retried. */
export function isDatabaseUnavailable(error: unknown): boolean {
  let current: unknown = error;
  for (let depth = 0; depth < 4 && current instanceof Error; depth += 1) {
    const code = codeOf(current);
    if (code !== undefined && (UNAVAILABLE_STATES.test(code) || CONNECTION_ERRNOS.test(code))) return true;
    // node-postgres sets no code on these errors; the last one is for statements after the connection was lost.
    if (NO_CONNECTION.test(current.message)) return true;
    current = (current as { driverError?: unknown }).driverError ?? current.cause;
  }
  return false;
}

/** PostgreSQL's codes for a NUL or half a surrogate pair in a text (appendix A): the sender's input is at fault. */
const UNSTORABLE_STATES = new Set(['22021', '22P05']);

/** Whether an error of the database driver means that an input has a character that no text can hold. */
export function isUnstorableText(error: unknown): boolean {
  return error instanceof Error && UNSTORABLE_STATES.has(codeOf(error) ?? '');
}
