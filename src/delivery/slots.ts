/** A workspace with something due. */
export interface DueWorkspace {
  readonly workspaceId: string;
  /** Its subscribers that this worker is delivering. */
  readonly active: number;
  /** Calls that its rate-limit window allows now. */
  readonly room: number;
}

/** A workspace without active deliveries gets this many slots, however busy the worker is with others. */
const MIN_SLOTS = 2;

/**
 * How many subscribers to claim of each workspace, in the order given.
 *
 * No workspace gets more than `perWorkspace`: deliveries that wait for its rate limit, or for a slow Intercom, must
 * leave slots for the others. A workspace with active deliveries claims more only when a quarter of its slots is
 * free, so that claims are large.
 */
export function allocateSlots(
  due: readonly DueWorkspace[],
  limits: { perWorkspace: number; total: number; active: number },
): Map<string, number> {
  const slots = new Map<string, number>();
  let free = limits.total - limits.active;
  for (const [index, { workspaceId, active, room }] of due.entries()) {
    const open = limits.perWorkspace - active;
    if (active > 0 && open < limits.perWorkspace / 4) continue;
    const part = Math.ceil(Math.max(free, 0) / (due.length - index));
    const share = Math.min(open, room, Math.max(part, active === 0 ? MIN_SLOTS : 0));
    if (share < 1) continue;
    slots.set(workspaceId, share);
    free -= share;
  }
  return slots;
}
