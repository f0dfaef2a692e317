import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// The folder of `src/main.ts`, for this process and those that it starts. Must come before every other import.
process.env.NODE_COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/subscription-timeline');
enableCompileCache(process.env.NODE_COMPILE_CACHE);
const { runSuite } = await import('./suite.ts');
process.exitCode = await runSuite(process.argv.slice(2));
