/**
 * Files that mostly wait for limits, pauses and retries of the product. One process runs them first while three keep
 * the cores busy. With four busy processes, tests of real processes starved on two cores.
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
 * Files that use a browser. One process starts with them and the others only take those left at the end, because each
 * process that runs one loads Playwright and starts a Chromium, which costs 0.9 s of processor time.
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

/** The slowest files (8 to 50 s), which start first. */
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
 * All files in an order for each process of the suite. A process skips a file that another one has claimed.
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
