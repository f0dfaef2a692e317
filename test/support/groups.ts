/**
 * The files of a group run one after the other in one process, which loads and compiles the app once: with a process
 * for each file, half of the suite's processor time went into that. Groups run in parallel, in this order, so those
 * that take longest come first. A file belongs to the first group that names it or its folder.
 */
const GROUPS: readonly (readonly string[])[] = [
  // They wait more than they work, for limits, pauses and retries of the product: with it four groups run at a time.
  [
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
  ],
  // A browser is started once for each group that uses one.
  [
    'test/grants/journey',
    'test/inbox-card/journey',
    'test/settings/',
    'test/workspaces/',
    'test/backfill/page',
  ],
  ['test/grants/store-action', 'test/grants/one-time-purchases', 'test/grants/approval-and-removal'],
  ['test/grants/', 'test/inbox-card/'],
  ['test/backfill/', 'test/operations/upgrade'],
  // They start and kill processes of the app, and wait for them.
  ['test/delivery/faults', 'test/operations/'],
  ['test/messenger/', 'test/simulator/'],
  ['test/'],
];

/** @param files paths from the project's folder, or absolute */
export function groupFiles(files: readonly string[]): string[][] {
  const groups = Map.groupBy(files.toSorted(), (file) =>
    GROUPS.findIndex((names) => names.some((name) => file.includes(name))),
  );
  return [...groups].sort(([one], [other]) => one - other).map(([, members]) => members);
}
