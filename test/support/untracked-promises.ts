import asyncHooks from 'node:async_hooks';

/**
 * Loaded into every test process before `node:test`, which otherwise follows every promise to know which test an
 * uncaught error belongs to: ten times the processor time of a promise. Such an error still fails the run; its stack
 * is printed here, because without its test the runner reports the message alone.
 */
const { createHook } = asyncHooks;
asyncHooks.createHook = (callbacks) => createHook({ ...callbacks, trackPromises: false });

function print(error: unknown): void {
  process.stderr.write(`Uncaught in a test: ${error instanceof Error ? error.stack : String(error)}\n`);
}
process.on('uncaughtExceptionMonitor', (error, origin) => origin === 'uncaughtException' && print(error));
process.on('unhandledRejection', print);
