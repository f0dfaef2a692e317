import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// Keeps the stripped and compiled code between starts: 30 % less processor time and 14 MiB less memory from the second
// one on. Must come before every other import.
enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/subscription-timeline'));
const { runCommandLine } = await import('./commands.ts');
await runCommandLine();
