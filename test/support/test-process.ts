import { closeSync, openSync } from 'node:fs';
import { join, relative } from 'node:path';
import { after, describe } from 'node:test';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { runnerHook } from './runner-hook.ts';

/** After the last test, ms. */
const ENDS_WITHIN_MS = 15_000;

let running = '';
const ends: (() => Promise<unknown>)[] = [];

/** For what the test files of a process share: `end` runs after the last one. */
export function atEnd(end: () => Promise<unknown>): void {
  ends.push(end);
}

/**
 * Runs these test files, one after the other and in this order, except those that another process has claimed. In a
 * suite of its own a file keeps its hooks to itself.
 *
 * @param claims a folder that the processes of a run share
 */
export async function runFiles(files: readonly string[], claims: string): Promise<void> {
  failOnUncaught();
  after(async () => {
    for (const end of ends.reverse()) await end();
    // What a failed test has left open would keep the run waiting for the time limit of the process.
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

/** Without its hook node:test says no more than the message, and sets an exit code that a command run here sets back. */
function failOnUncaught(): void {
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, (error) => {
      // As bytes it passes where a test takes what its process prints.
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
        // Registered last, it runs after the hooks of the file.
        after(() => done());
        runnerHook?.disable();
      }
    });
  });
}
