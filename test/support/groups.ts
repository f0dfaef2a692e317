/**
 * The files of a group run one after the other in one process, which loads and compiles the app once: with a process
 * for each file, half of the suite's processor time went into that. Groups run in parallel, in this order, so those
 * that take longest come first. A file belongs to the first group that names it or its folder.
 */
const GROUPS: readonly (readonly string[])[] = [
  ['test/grants/store-action-matrix.test.ts', 'test/grants/store-actions.test.ts'],
  // A browser is started once for each group that uses one.
  ['test/grants/journey.test.ts', 'test/inbox-card/journey.test.ts'],
  ['test/grants/'],
  ['test/messenger/', 'test/simulator/'],
  // It starts and kills processes of the app, and waits for them.
  ['test/delivery/faults.test.ts'],
  ['test/settings/', 'test/workspaces/', 'test/backfill/page.test.ts'],
  ['test/operations/start.test.ts', 'test/operations/signals.test.ts'],
  ['test/backfill/', 'test/doctor/'],
  ['test/inbox-card/'],
  ['test/operations/'],
  ['test/delivery/', 'test/ingestion/', 'test/subscribers/', 'test/subscription/'],
  ['test/'],
];

/** @param files paths from the project's folder, or absolute */
export function groupFiles(files: readonly string[]): string[][] {
  const groups = Map.groupBy(files.toSorted(), (file) =>
    GROUPS.findIndex((names) => names.some((name) => file.includes(name))),
  );
  return [...groups].sort(([one], [other]) => one - other).map(([, members]) => members);
}
