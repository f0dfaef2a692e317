/**
 * They wait more than they work, for limits, pauses and retries of the product: while one process runs them, three work.
 * With four that work, tests of real processes starved on two cores.
 */
const WAITING = [
  'test/delivery/deliver',
  'test/delivery/pace',
  'test/delivery/rules',
  'test/delivery/sharing',
  'test/doctor/',
  'test/grants/faults',
  'test/http/requests',
  'test/ingestion/receive',
  'test/jobs/',
  'test/operations/disk-full',
  'test/operations/metrics',
  'test/revenuecat/call-limiter',
  'test/subscribers/erase.test',
  'test/workspaces/health',
];

/** They take longest (8 to 50 s), so they start first. */
const LONG = [
  'test/delivery/faults',
  'test/grants/',
  'test/inbox-card/',
  'test/settings/journey',
  'test/operations/',
  'test/backfill/import',
  'test/simulator/demo',
  'test/ingestion/processor',
  'test/database/migrations',
  'test/workspaces/install',
  'test/backfill/',
];

/**
 * The files for each process of the suite: it runs those that are left when it gets to them.
 *
 * @param files paths from the project's folder, or absolute
 */
export function orderFiles(files: readonly string[], processes: number): string[][] {
  const isWaiting = (file: string) => WAITING.some((name) => file.includes(name));
  const rank = (file: string) => {
    const index = LONG.findIndex((name) => file.includes(name));
    return index === -1 ? LONG.length : index;
  };
  const working = files.filter((file) => !isWaiting(file)).sort((one, other) => rank(one) - rank(other));
  const waiting = files.filter(isWaiting);
  return Array.from({ length: Math.min(processes, files.length) }, (_, index) =>
    index === 0 ? [...waiting, ...working] : [...working, ...waiting],
  );
}
