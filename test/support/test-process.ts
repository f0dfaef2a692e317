import { closeSync, openSync } from 'node:fs';
import { join, relative } from 'node:path';
import { after, describe } from 'node:test';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { STOP_SIGNALS } from './process.ts';
import { runnerHook } from './runner-hook.ts';

/** How long a process may take to end after its last test, ms. */
const ENDS_WITHIN_MS = 15_000;

let running = '';
const ends: (() => Promise<unknown>)[] = [];

/** Registers the cleanup of something that the test files of a process share: `end` runs after the last file. */
export function atEnd(end: () => Promise<unknown>): void {
  ends.push(end);
}

/**
 * Runs these test files one after the other, in this order, except those that another process has claimed. Each file
 * gets its own suite, so that its hooks do not apply to the other files.
 *
 * @param claims a folder that the processes of a run share
 */
export async function runFiles(files: readonly string[], claims: string): Promise<void> {
  failOnUncaught();
  // Node would end without its exit hooks, which end what a test has started.
  for (const signal of STOP_SIGNALS) process.once(signal, () => process.exit(1));
  after(async () => {
    for (const end of ends.reverse()) await end();
    // Anything that a failed test leaves open would keep the run waiting for the time limit of the process.
    setTimeout(() => {
      process.stderr.write(`Something is still open ${ENDS_WITHIN_MS / 1_000} s after the last test\n`);
      process.exit(1);
    }, ENDS_WITHIN_MS).unref();
  });
  for (const file of files) {
    const name = relative(process.cwd(), file);
    if (claim(join(claims, encodeURIComponent(name)))) await runFile(name, file);
  }
}

/** Without its hook, node:test reports only the message, and a command run in this process resets its exit code. */
function failOnUncaught(): void {
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, (error) => {
      // Written as bytes, so that it passes while a test captures what its process prints.
      process.stderr.write(Buffer.from(`${event} while ${running} ran: ${inspect(error)}\n`));
      process.on('exit', () => {
        process.exitCode = 1;
      });
    });
  }
}

function claim(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx'));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function runFile(name: string, file: string): Promise<void> {
  running = name;
  return new Promise((done) => {
    runnerHook?.enable();
    describe(name, async () => {
      try {
        await import(pathToFileURL(file).href);
      } finally {
        // Registered last, so that it runs after the file's own hooks.
        after(() => done());
        runnerHook?.disable();
      }
    });
  });
}
