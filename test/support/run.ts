import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

/** The app, its packages and most tests left 4,400. */
const MAX_COMPILED_MODULES = 10_000;

// The folder of `src/main.ts`, for this process and those that it starts. Must come before every other import.
const folder = join(import.meta.dirname, '../../node_modules/.cache/subscription-timeline');
mkdirSync(folder, { recursive: true });
// Node deletes nothing of it, and each run adds modules of temporary folders.
for (const version of readdirSync(folder)) {
  const path = join(folder, version);
  if (readdirSync(path).length > MAX_COMPILED_MODULES) rmSync(path, { recursive: true, force: true });
}
process.env.NODE_COMPILE_CACHE = folder;
enableCompileCache(folder);
const { runSuite } = await import('./suite.ts');
process.exitCode = await runSuite(process.argv.slice(2));
