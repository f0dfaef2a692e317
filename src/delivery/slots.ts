/** A workspace with something due, as its worker sees it. */
export interface DueWorkspace {
  readonly workspaceId: string;
  /** Its subscribers that this worker has in hand. */
  readonly held: number;
  /** Calls that its window allows now. */
  readonly room: number;
}

/** With nothing in hand a workspace gets this many, however busy the worker is with others. */
const ALWAYS = 2;

/**
 * How many subscribers to take of each workspace, in the order given.
 *
 * No workspace gets more than `perWorkspace`: hands that wait for its window to open, or for a silent Intercom,
 * must leave others for the rest. One that has some in hand takes more only when a quarter is free, so that a
 * claim carries many.
 */
export function allocateSlots(
  due: readonly DueWorkspace[],
  limits: { perWorkspace: number; total: number; held: number },
): Map<string, number> {
  const shares = new Map<string, number>();
  let free = limits.total - limits.held;
  for (const [index, { workspaceId, held, room }] of due.entries()) {
    const open = limits.perWorkspace - held;
    if (held > 0 && open < limits.perWorkspace / 4) continue;
    const part = Math.ceil(Math.max(free, 0) / (due.length - index));
    const share = Math.min(open, room, Math.max(part, held === 0 ? ALWAYS : 0));
    if (share < 1) continue;
    shares.set(workspaceId, share);
    free -= share;
  }
  return shares;
}
