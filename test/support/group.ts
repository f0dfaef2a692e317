import { relative } from 'node:path';
import { after, describe } from 'node:test';
import { pathToFileURL } from 'node:url';

/** After the last test, ms. */
const ENDS_WITHIN_MS = 15_000;

const ends: (() => Promise<unknown>)[] = [];

/** For what the test files of a process share: `end` runs after the last one. */
export function atEnd(end: () => Promise<unknown>): void {
  ends.push(end);
}

/** Runs these test files one after the other. In a suite of its own a file keeps its hooks to itself. */
export function runGroup(files: readonly string[]): void {
  after(async () => {
    for (const end of ends.reverse()) await end();
    // What a failed test has left open would keep the run waiting for the group's time limit.
    setTimeout(() => {
      process.stderr.write(`Something is still open ${ENDS_WITHIN_MS / 1_000} s after the last test\n`);
      process.exit(1);
    }, ENDS_WITHIN_MS).unref();
  });
  for (const file of files)
    describe(relative(process.cwd(), file), async () => {
      await import(pathToFileURL(file).href);
    });
}
