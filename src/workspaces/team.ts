import { LRUCache } from 'lru-cache';
import type { IntercomAdmin } from '../intercom/client.ts';
import { expiresAfter, MINUTE_MS } from '../time.ts';
import type { AppContext } from './app-context.ts';
import { readWorkspace, type Workspace } from './repository.ts';

/** How soon a teammate who was removed in Intercom loses access. */
const TEAM_TTL_MS = 5 * MINUTE_MS;
/** A page waits for Intercom no longer than this. */
const TEAM_TIMEOUT_MS = 3_000;

type Team = ReadonlySet<string> | 'unknown';

/** Intercom's current teammates; `null`: Intercom does not answer or refuses our token, or no key decrypts it. */
export async function listTeam(app: AppContext, workspace: Workspace): Promise<IntercomAdmin[] | null> {
  try {
    return (await app.intercom(workspace, { timeoutMs: TEAM_TIMEOUT_MS })?.listAdmins()) ?? null;
  } catch (error) {
    app.logger.warn({ err: error, workspaceId: workspace.workspaceId }, 'team not read');
    return null;
  }
}

/** Reads the team. While it is unknown everyone keeps access: a broken connection is repaired in the settings. */
export function createTeamReader(app: AppContext) {
  const cache = new LRUCache<string, Team>({ max: 1_000, ...expiresAfter(TEAM_TTL_MS, app.now) });
  /** @param adminId a cached team without this admin is read again: they may have just joined */
  return async (workspaceId: string, adminId?: string): Promise<Team> => {
    const recent = cache.get(workspaceId);
    if (recent === 'unknown' || (recent && (adminId === undefined || recent.has(adminId)))) return recent;
    const workspace = await readWorkspace(app.database, workspaceId);
    const admins = workspace && (await listTeam(app, workspace));
    const team = admins === null ? 'unknown' : new Set(admins.map(({ id }) => id));
    cache.set(workspaceId, team);
    return team;
  };
}
