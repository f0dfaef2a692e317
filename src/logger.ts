import { type DestinationStream, type Logger, pino } from 'pino';
import { stripInvisible } from './text.ts';
import { activeTrace } from './tracing.ts';

/**
 * The log of a process: one JSON object a line. Lines carry ids, codes and counts: never a secret, never personal data
 * that a platform sent.
 */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: { pid: process.pid },
    mixin: activeTrace,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  };
  return destination ? pino(options, destination) : pino(options);
}

/** The log of a command goes to stderr: stdout is for its result, which other programs read. */
export function createCommandLogger(level: string): Logger {
  return createLogger(level, pino.destination({ dest: 2, sync: true }));
}

const OUTAGE_LOG_INTERVAL_MS = 60_000;

/** Logs one line immediately, then at most one a minute during an outage: everything fails for the same reason. */
export function createOutageLog(
  log: (about: { readonly err: unknown; readonly failed: number }) => void,
): (err: unknown) => void {
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  let failed = 0;
  return (err) => {
    failed += 1;
    if (performance.now() - loggedAtMs < OUTAGE_LOG_INTERVAL_MS) return;
    log({ err, failed });
    loggedAtMs = performance.now();
    failed = 0;
  };
}

/** Prints the result of a command: as JSON for other programs, or as text. */
export function printResult(asJson: boolean | undefined, result: object, text: string): void {
  if (asJson) process.stdout.write(`${JSON.stringify(result)}\n`);
  else printText(text);
}

/** For a person. Names and app user IDs are chosen by others: their escape sequences must not reach the terminal. */
export function printText(text: string, stream: NodeJS.WriteStream = process.stdout): void {
  stream.write(`${stripInvisible(text)}\n`);
}

interface DescribedError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly status?: number;
  /** Table and name of the violated database constraint. */
  readonly table?: string;
  readonly constraint?: string;
  readonly stack?: string;
  readonly cause?: DescribedError;
}

const MAX_CAUSES = 4;

/**
 * The parts of an error that may be logged. Everything else that libraries attach is left out: PostgreSQL's `detail`
 * quotes rows, and TypeORM's `parameters` are the values.
 */
export function describeError(error: unknown, depth = 0): DescribedError {
  if (!(error instanceof Error)) {
    // Errors that libraries pass between threads or through events lose their class.
    const { message } = (error ?? {}) as { message?: unknown };
    return {
      type: typeof error,
      message: typeof message === 'string' ? withoutValues(message) : 'not an error',
    };
  }
  const { code, status, upstreamStatus, table, constraint, driverError } = error as Error &
    Record<string, unknown>;
  const cause = error.cause ?? driverError;
  const httpStatus = upstreamStatus ?? status;
  return {
    type: error.name === 'Error' ? error.constructor.name : error.name,
    message: withoutValues(error.message),
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof httpStatus === 'number' ? { status: httpStatus } : {}),
    ...(typeof table === 'string' ? { table } : {}),
    ...(typeof constraint === 'string' ? { constraint } : {}),
    stack: frames(error),
    ...(cause instanceof Error && depth < MAX_CAUSES ? { cause: describeError(cause, depth + 1) } : {}),
  };
}

const MAX_INPUT_LENGTH = 2_000;
const MAX_OUTPUT_LENGTH = 300;

/**
 * Messages from the database and from parsers quote the rejected value; ours and the platforms' may name an e-mail
 * address. Long messages are cut before and after: nothing that explains an error is that long, and the expressions
 * take quadratic time. A last word that was cut is dropped, because it may be half of an address.
 */
export function withoutValues(message: string): string {
  const start =
    message.length > MAX_INPUT_LENGTH ? message.slice(0, MAX_INPUT_LENGTH).replace(/\S+$/, '') : message;
  return start
    .replace(/"[^"]*"/g, (quoted) =>
      /^"[a-z_][a-z0-9_]*"$/.test(quoted) && quoted.length <= 50 ? quoted : '"…"',
    )
    .replace(/[^\s"'<>(),;:=]+@[^\s"'<>(),;:=]+/g, '…@…')
    .replace(/\b(Bearer|Basic)\s+\S+/gi, '$1 …')
    .replace(/(\w+:\/\/)[^\s/@]+@/g, '$1…@')
    .slice(0, MAX_OUTPUT_LENGTH);
}

/** The stack without its first lines, which repeat the message. */
function frames(error: Error): string {
  const lines = (error.stack ?? '').split('\n');
  return lines.filter((line) => /^\s+at /.test(line)).join('\n');
}
