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

/**
 * Of a browser: one process begins with them and the others take those that are left at the end, since each that takes
 * one loads Playwright and starts a Chromium, 0.9 s of processor time.
 */
const BROWSER = [
  'test/settings/journey',
  'test/grants/journey',
  'test/simulator/demo',
  'test/inbox-card/height',
  'test/inbox-card/journey',
  'test/inbox-card/matching',
  'test/inbox-card/security',
  'test/inbox-card/views',
  'test/simulator/inbox-page',
  'test/backfill/page',
  'test/messenger/support-page',
  'test/settings/whole-journey',
  'test/messenger/settings',
];

/** They take longest (8 to 50 s), so they start first. */
const LONG = [
  'test/delivery/faults',
  'test/grants/',
  'test/inbox-card/',
  'test/operations/',
  'test/backfill/import',
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
  const rankIn = (names: readonly string[], file: string) => {
    const index = names.findIndex((name) => file.includes(name));
    return index === -1 ? names.length : index;
  };
  const kindOf = (file: string) => {
    if (BROWSER.some((name) => file.includes(name))) return 'browser';
    return WAITING.some((name) => file.includes(name)) ? 'waiting' : 'working';
  };
  const { working = [], waiting = [], browser = [] } = Object.groupBy(files, kindOf);
  working.sort((one, other) => rankIn(LONG, one) - rankIn(LONG, other));
  browser.sort((one, other) => rankIn(BROWSER, one) - rankIn(BROWSER, other));
  const orders = [
    [...waiting, ...working, ...browser],
    [...browser, ...working, ...waiting],
  ];
  return Array.from(
    { length: Math.min(processes, files.length) },
    (_, index) => orders[index] ?? [...working, ...waiting, ...browser],
  );
}
