import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';

/**
 * Loaded into every test process: records each SQL statement that the product runs, so that the runner can check
 * them all. A statement counts as the product's if the nearest caller among our own files is in `src/`.
 */
const folder = process.env.TEST_STATEMENTS;
const statements = new Map<string, string>();
/** How many times each statement was run by something other than the product. */
const foreign = new Map<string, number>();
/** After this many, a statement counts as the tests' or the job queue's: reading the stack each time is expensive. */
const MAX_FOREIGN = 5;

const OURS = /\/(src|test)\/([^\s:()]+)/;
/** Files that only pass statements on. */
const CARRIERS = /^database\/(sql|read-database)\.ts$/;
/** Migrations are about all workspaces. */
const MIGRATES = 'database/data-source.ts';

function callerInSource(): string | null {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 30;
  const stack = new Error().stack ?? '';
  Error.stackTraceLimit = stackTraceLimit;
  for (const line of stack.split('\n').slice(2)) {
    if (line.includes('node_modules')) continue;
    const [, area, path] = OURS.exec(line) ?? [];
    if (area === undefined || path === undefined || path === 'support/record-statements.ts') continue;
    if (area === 'src' && CARRIERS.test(path)) continue;
    return area === 'src' && path !== MIGRATES ? `src/${path}` : null;
  }
  return null;
}

function note(query: unknown): void {
  const text = typeof query === 'string' ? query : (query as { text?: unknown } | null)?.text;
  if (typeof text !== 'string' || statements.has(text)) return;
  const times = foreign.get(text) ?? 0;
  if (times === MAX_FOREIGN) return;
  const caller = callerInSource();
  if (caller === null) foreign.set(text, times + 1);
  else statements.set(text, caller);
}

function watch(prototype: { query: unknown }): void {
  const original = prototype.query as (...args: unknown[]) => unknown;
  prototype.query = function query(this: unknown, ...args: unknown[]): unknown {
    note(args[0]);
    return original.apply(this, args);
  };
}

if (folder !== undefined) {
  watch(pg.Client.prototype as unknown as { query: unknown });
  watch(pg.Pool.prototype as unknown as { query: unknown });
  process.on('exit', () => {
    if (statements.size === 0) return;
    writeFileSync(join(folder, `${process.pid}.json`), JSON.stringify([...statements]));
  });
}
