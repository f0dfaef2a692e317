/**
 * `npm run demo`. The first line is printed before the product is loaded, which takes a second or two; each step of
 * the start follows as it begins.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

enableCompileCache(join(import.meta.dirname, '../../node_modules/.cache/subscription-timeline'));
process.stdout.write(
  '\n  Subscription Timeline demo: the whole product on this machine, with a simulated Intercom and RevenueCat.\n\n',
);

const { default: dotenv } = await import('dotenv');
const { stopEmbeddedNow } = await import('../database/embedded.ts');
const { AppError, badRequest } = await import('../errors.ts');
const { stopOnSignals } = await import('../http/stop-on-signals.ts');
const { createLogger } = await import('../logger.ts');
const { withTimeout } = await import('../time.ts');

const EXIT_USAGE = 1;
const MAX_PORT = 65_534;
const MAX_STOP_MS = 2_500;

dotenv.config({ quiet: true });

/** Steps with their duration, such as `✓ Starting PostgreSQL and the app (4.2 s)`. */
function createProgress(): { begin(step: string): void; end(): void } {
  let current: { step: string; startedAtMs: number } | null = null;
  const end = (): void => {
    if (current === null) return;
    const seconds = ((performance.now() - current.startedAtMs) / 1_000).toFixed(1);
    process.stdout.write(`${process.stdout.isTTY ? '\r' : ''}  ✓ ${current.step} (${seconds} s)\n`);
    current = null;
  };
  return {
    begin(step) {
      end();
      current = { step, startedAtMs: performance.now() };
      // Without a terminal, a step is printed as one line when it is done.
      if (process.stdout.isTTY) process.stdout.write(`  … ${step}`);
    },
    end,
  };
}

const progress = createProgress();
progress.begin('Loading');
try {
  const { startDemo } = await import('./demo.ts');
  const dataDir = process.env.DATA_DIR;
  const port = Number(process.env.PORT || 3000);
  if (!Number.isInteger(port) || port < 0 || port > MAX_PORT)
    throw badRequest(`PORT must be a number from 0 to ${MAX_PORT}: the demo uses it and the next one.`);
  const demo = await startDemo({
    port,
    // The sample data includes a rejected key and a deleted contact: their warnings are expected.
    logger: createLogger(process.env.LOG_LEVEL || 'fatal'),
    ...(dataDir ? { dataDir } : {}),
    onProgress: progress.begin,
  });
  progress.end();
  process.stdout.write(demo.greeting);
  // The server finishes its jobs first, some of which wait for RevenueCat's rate limit.
  stopOnSignals(async () => {
    await withTimeout(demo.stop(), MAX_STOP_MS, stopEmbeddedNow);
  });
} catch (error) {
  if (!(error instanceof AppError)) throw error;
  process.stderr.write(`\n\n  ${error.message}\n`);
  process.exit(EXIT_USAGE);
}
