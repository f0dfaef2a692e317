import asyncHooks, { type AsyncHook } from 'node:async_hooks';

/**
 * How node:test knows the suite in which a test is declared, and the test that made a promise which is rejected
 * unhandled. It follows every promise, a tenth of the suite's processor time, and is needed only while a file is loaded.
 * Undefined where this was not loaded before node:test.
 */
export let runnerHook: AsyncHook | undefined;

const { createHook } = asyncHooks;
asyncHooks.createHook = (callbacks) => {
  asyncHooks.createHook = createHook;
  runnerHook = createHook(callbacks);
  return runnerHook;
};
