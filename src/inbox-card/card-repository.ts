import { IS_LOOKED_UP } from '../contacts/repository.ts';
import { createBatcher } from '../database/batcher.ts';
import { epochMs, type Sql } from '../database/sql.ts';
import { MADE_BY_TEAMMATE } from '../subscribers/repository.ts';
import { IDENTIFIED_FIRST } from '../subscribers/search.ts';
import { readStoredSummaries } from '../subscribers/summaries.ts';
import type { StoredSummary, SummaryValidity } from '../subscription/summary.ts';
import { IS_CONNECTED, PROJECT_COLUMNS, type Project, toProject } from '../workspaces/projects.ts';
import {
  type StoredWorkspace,
  toWorkspace,
  WORKSPACE_COLUMNS,
  type Workspace,
} from '../workspaces/repository.ts';

/** How many ids of a subscriber a card reads; identified ones come first. */
const MAX_IDS = 50;

/** A subscriber that belongs to a contact, without its history. */
export interface Candidate {
  readonly subscriberId: string;
  readonly project: Project;
  readonly appUserIds: readonly string[];
  readonly email: string | null;
  readonly snapshotAtMs: number | null;
  readonly version: number;
  /** Whether its events wait for a contact, or a lookup of the contact is in progress or was refused. */
  readonly waiting: boolean;
  /** How the contact was matched with it, the strongest reason. */
  readonly matchedBy: 'chosen' | 'link' | 'external_id';
  /** The link that a teammate made; `null`: none. */
  readonly link: { readonly name: string; readonly atMs: number } | null;
  /** Whether a grant or another action was made here. */
  readonly hasActions: boolean;
  /** Identifies the stored summary, which is read only where it is needed. */
  readonly summary: SummaryValidity | null;
}

interface CardRecord {
  readonly workspace: Workspace;
  readonly projects: readonly Project[];
  /** At most one for each connected project: the chosen one first, then by newest activity. */
  readonly candidates: readonly Candidate[];
}

/**
 * Everything that initialize requests of one workspace need, in one statement: a group conversation sends five at a
 * time, and a busy inbox more. Each request gets its chosen subscriber, then those of its contact: by a saved link,
 * else by its external id.
 *
 * The lists are subqueries: PostgreSQL would read their lengths from a bare parameter and plan the statement at each
 * execution, which took 0.8 of its 1.2 ms. Ids and subscribers are looked up for each row: a join, planned when the
 * tables were nearly empty, read one whole table for each row of the other.
 */
const READ_CARDS = `
with asked as (
  select * from unnest((select $2::text[]), (select $3::text[]), (select $4::uuid[]))
    with ordinality as a (contact_id, external_id, chosen, nr))
select ${WORKSPACE_COLUMNS},
       (select json_agg(p order by p.created_at, p."projectId")
          from (select ${PROJECT_COLUMNS}, created_at from projects p
                 where workspace_id = $1 and ${IS_CONNECTED}) p) as projects,
       (select json_agg(m) from (
          select f.nr::int, f."matchedBy", s.subscriber_id as "subscriberId", s.project_id as "projectId",
                 s.email, s.version, s.waiting or ${IS_LOOKED_UP} as waiting, ${epochMs('s.snapshot_at')} as "snapshotAtMs",
                 array(select i.app_user_id from subscriber_ids i
                        where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
                        order by ${IDENTIFIED_FIRST} limit ${MAX_IDS})
                   as "appUserIds",
                 (select json_build_object('name', coalesce(l.made_by->>'name', ''), 'atMs', ${epochMs('l.made_at')})
                    from contact_links l
                   where l.workspace_id = $1 and l.contact_id = f.contact_id and l.project_id = s.project_id
                     and l.subscriber_id = s.subscriber_id and ${MADE_BY_TEAMMATE}) as link,
                 exists (select 1 from actions g
                          where g.workspace_id = $1 and g.subscriber_id = s.subscriber_id) as "hasActions",
                 (select json_build_object('format', u.format, 'version', u.version,
                                           'validUntilMs', ${epochMs('u.valid_until')})
                    from subscriber_summaries u
                   where u.workspace_id = $1 and u.subscriber_id = s.subscriber_id) as summary
            from (select nr, contact_id, chosen as subscriber_id, 'chosen' as "matchedBy"
                    from asked where chosen is not null
                  union all
                  select a.nr, a.contact_id, l.subscriber_id, 'link'
                    from asked a join contact_links l on l.workspace_id = $1 and l.contact_id = a.contact_id
                   where l.subscriber_id is distinct from a.chosen
                  -- A link in the same project takes precedence, even one that no teammate made.
                  union all
                  select a.nr, a.contact_id, i.subscriber_id, 'external_id'
                    from asked a
                   cross join lateral (select subscriber_id, project_id from subscriber_ids
                                        where workspace_id = $1 and app_user_id = a.external_id
                                        order by project_id) i
                   where i.subscriber_id is distinct from a.chosen
                     and not exists (select 1 from contact_links l
                                      where l.workspace_id = $1 and l.contact_id = a.contact_id
                                        and l.project_id = i.project_id)) f
           cross join lateral (select * from subscribers
                                where workspace_id = $1 and subscriber_id = f.subscriber_id and merged_into is null
                               offset 0) s
           -- The chosen subscriber first, then by newest activity.
           order by f."matchedBy" <> 'chosen', s.last_event_at_ms desc nulls last) m) as candidates
  from workspaces where workspace_id = $1`;

interface CardRow extends StoredWorkspace {
  projects: Parameters<typeof toProject>[0][] | null;
  /** `nr`: the request that this is for, counted from 1. */
  candidates: (Omit<Candidate, 'project'> & { nr: number; projectId: string })[] | null;
}

export type CardReader = ReturnType<typeof createCardReader>;

/**
 * More than 32 cards in a statement take longer without raising the number of cards per second. While many cards open,
 * a statement starts every 5 ms instead of after the one before: a statement costs 540 µs of processor time, and each
 * card in it 43 µs.
 */
const BATCHES = { maxItems: 32, spacingMs: 5 };

/** Reads what cards show. Cards of a workspace that are opened while others are being read share the next statement. */
export function createCardReader(sql: Sql) {
  const read = createBatcher<CardQuery, CardRecord | null>(BATCHES, (workspaceId, queries) =>
    readCards(sql, workspaceId, queries),
  );
  return {
    /** `null`: unknown workspace. */
    read,
    /** The same for a subscriber, whoever its contact is. */
    readSubscriber: (workspaceId: string, subscriberId: string) =>
      read(workspaceId, { contactId: '', externalId: null, chosen: subscriberId }),
    /** `null`: none is stored. */
    summary: createBatcher<string, StoredSummary | null>(BATCHES, async (workspaceId, subscriberIds) => {
      const stored = await readStoredSummaries(sql, workspaceId, subscriberIds);
      return subscriberIds.map((subscriberId) => stored.get(subscriberId) ?? null);
    }),
  };
}

interface CardQuery {
  readonly contactId: string;
  readonly externalId: string | null;
  /** A subscriber that the teammate chose before; one of another workspace is not found. */
  readonly chosen: string | null;
}

/** @returns a record for each query, in that order; `null`: unknown workspace */
async function readCards(
  sql: Sql,
  workspaceId: string,
  queries: readonly CardQuery[],
): Promise<(CardRecord | null)[]> {
  const [row] = await sql.query<CardRow>(
    READ_CARDS,
    [
      workspaceId,
      queries.map((one) => one.contactId),
      queries.map((one) => one.externalId),
      queries.map((one) => one.chosen),
    ],
    'read-cards',
  );
  if (!row) return queries.map(() => null);
  const { projects: storedProjects, candidates, ...stored } = row;
  const workspace = toWorkspace(stored);
  const projects = (storedProjects ?? []).map(toProject);
  const found = queries.map((): Candidate[] => []);
  for (const { nr, projectId, ...candidate } of candidates ?? []) {
    const project = projects.find((each) => each.projectId === projectId);
    if (project) found[nr - 1]?.push({ ...candidate, project });
  }
  return found.map((candidates) => ({ workspace, projects, candidates }));
}
