import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

/** The app, its packages and most tests come to 4,400 modules. */
const MAX_COMPILED_MODULES = 10_000;

// The cache folder of `src/main.ts`, for this process and those that it starts. Must be set before any other import.
const folder = join(import.meta.dirname, '../../node_modules/.cache/subscription-timeline');
mkdirSync(folder, { recursive: true });
// Node never deletes anything from the cache, and each run adds modules from temporary folders.
for (const version of readdirSync(folder)) {
  const path = join(folder, version);
  if (readdirSync(path).length > MAX_COMPILED_MODULES) rmSync(path, { recursive: true, force: true });
}
process.env.NODE_COMPILE_CACHE = folder;
enableCompileCache(folder);
const { runSuite } = await import('./suite.ts');
process.exitCode = await runSuite(process.argv.slice(2));
