import asyncHooks, { type AsyncHook } from 'node:async_hooks';

let hook: AsyncHook | null = null;

const { createHook } = asyncHooks;
Object.assign(asyncHooks, {
  createHook(callbacks: Parameters<typeof createHook>[0]): AsyncHook {
    Object.assign(asyncHooks, { createHook });
    hook = createHook(callbacks);
    return hook;
  },
});

/**
 * The hook by which Node's test runner follows every promise, to know the suite of a test that is registered: 4 to 10 %
 * of a test process's time. `null` where this module was not loaded before the runner, which makes the first hook.
 */
export function testHook(): AsyncHook | null {
  return hook;
}
