import asyncHooks, { type AsyncHook } from 'node:async_hooks';

/**
 * The hook by which node:test finds the suite in which a test is declared, and the test that an unhandled rejection
 * comes from. It follows every promise, a tenth of the suite's processor time, and is needed only while a file loads.
 * `undefined`: this module was not loaded before node:test.
 */
export let runnerHook: AsyncHook | undefined;

const { createHook } = asyncHooks;
asyncHooks.createHook = (callbacks) => {
  asyncHooks.createHook = createHook;
  runnerHook = createHook(callbacks);
  return runnerHook;
};
