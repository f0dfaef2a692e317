import { stopEmbeddedNow } from '../database/embedded.ts';

/** Ctrl-C arrives from the terminal and again from npm: within this time signals count as one, ms. */
const SAME_SIGNAL_MS = 1_000;

/** Calls `stop` at the first signal; a later one forces the exit. */
export function onStopSignal(stop: (signal: NodeJS.Signals) => void): void {
  let firstAtMs: number | null = null;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (firstAtMs === null) {
        firstAtMs = performance.now();
        stop(signal);
      } else if (performance.now() - firstAtMs > SAME_SIGNAL_MS) {
        stopEmbeddedNow().finally(() => process.exit(130));
      }
    });
  }
}

/** Ends the process when everything is stopped. */
export function stopOnSignals(stop: (signal: NodeJS.Signals) => Promise<void>): void {
  onStopSignal((signal) => {
    stop(signal).then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  });
}
