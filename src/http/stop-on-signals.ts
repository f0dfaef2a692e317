import { stopEmbeddedNow } from '../database/embedded.ts';

/** Ctrl-C arrives from the terminal and again from npm: within this time signals count as one, ms. */
const SAME_SIGNAL_MS = 1_000;

export function stopOnSignals(stop: (signal: NodeJS.Signals) => Promise<void>): void {
  let firstAtMs: number | null = null;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (firstAtMs !== null) {
        // A later Ctrl-C forces the exit.
        if (performance.now() - firstAtMs > SAME_SIGNAL_MS)
          stopEmbeddedNow().finally(() => process.exit(130));
        return;
      }
      firstAtMs = performance.now();
      stop(signal).then(
        () => process.exit(0),
        (error: unknown) => {
          process.stderr.write(`${String(error)}\n`);
          process.exit(1);
        },
      );
    });
  }
}
