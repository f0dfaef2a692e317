import { createBatcher, keyed } from '../database/batcher.ts';
import type { Sql } from '../database/sql.ts';
import type { StoredSummary, SubscriberSummary, SummaryValidity } from '../subscription/summary.ts';
import type { Snapshot } from '../subscription/types.ts';
import { PROJECT_COLUMNS, type Project, toProject } from '../workspaces/projects.ts';
import { type StoredWorkspace, toWorkspace, WORKSPACE_COLUMNS, type Workspace } from '../workspaces/store.ts';

/** Ids of one subscriber that a card reads; identified ones come first. */
export const MAX_IDS = 50;

/** How a contact was matched with a subscriber, the strongest first. */
type MatchReason = 'chosen' | 'link' | 'external_id';

/** A subscriber that belongs to a contact, without its history. */
export interface Candidate {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserIds: readonly string[];
  readonly email: string | null;
  readonly snapshotAtMs: number | null;
  readonly version: number;
  readonly waiting: boolean;
  readonly matchedBy: MatchReason;
  /** Who linked it, and when. */
  readonly link: { readonly name: string; readonly atMs: number } | null;
  readonly hasGrants: boolean;
  /** Identifies the stored summary, which is read only where it is needed. */
  readonly summary: SummaryValidity | null;
}

export interface CardRecord {
  readonly workspace: Workspace;
  readonly projects: readonly Project[];
  /** At most one for each project, those of disconnected projects left out; the newest activity first. */
  readonly candidates: readonly Candidate[];
}

const APP_USER_IDS = `(
  select json_agg(t.app_user_id) from (
    select i.app_user_id from subscriber_ids i
     where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
     order by i.app_user_id like '$RCAnonymousID:%', i.app_user_id limit ${MAX_IDS}) t)`;

/**
 * Everything that initialize requests of one workspace need, in one statement: a group conversation sends five
 * at a time, and a busy inbox more.
 */
const READ_CARDS = `
with asked as (
  select * from unnest($2::text[], $3::text[], $4::uuid[])
    with ordinality as a (contact_id, external_id, chosen, nr))
select ${WORKSPACE_COLUMNS},
       (select json_agg(p order by p.created_at, p."projectId")
          from (select ${PROJECT_COLUMNS}, created_at from projects
                 where workspace_id = $1 and webhook_auth_hash <> '') p) as projects,
       (select json_agg(m) from (
          select f.nr::int, s.subscriber_id, s.project_id, s.email, s.version, s.waiting, s.last_event_at_ms,
                 (extract(epoch from s.snapshot_at) * 1000)::bigint as snapshot_at_ms,
                 f.why, f.made_by, (extract(epoch from f.made_at) * 1000)::bigint as made_at_ms,
                 ${APP_USER_IDS} as app_user_ids,
                 exists (select 1 from actions g
                          where g.workspace_id = $1 and g.subscriber_id = s.subscriber_id) as has_grants,
                 u.format, u.version as summary_version,
                 (extract(epoch from u.valid_until) * 1000)::bigint as valid_until_ms
            from (select nr, chosen as subscriber_id, 'chosen' as why, null::jsonb as made_by,
                         null::timestamptz as made_at
                    from asked where chosen is not null
                  union all
                  select a.nr, l.subscriber_id, 'link', l.made_by, l.made_at
                    from asked a join contact_links l on l.workspace_id = $1 and l.contact_id = a.contact_id
                  union all
                  select a.nr, i.subscriber_id, 'external_id', null, null
                    from asked a join subscriber_ids i on i.workspace_id = $1 and i.app_user_id = a.external_id
                   where not exists (select 1 from contact_links l
                                      where l.workspace_id = $1 and l.contact_id = a.contact_id
                                        and l.project_id = i.project_id)) f
            join subscribers s
              on s.workspace_id = $1 and s.subscriber_id = f.subscriber_id and s.merged_into is null
            left join subscriber_summaries u
              on u.workspace_id = $1 and u.subscriber_id = s.subscriber_id) m) as candidates
  from workspaces where workspace_id = $1`;

interface CandidateJson {
  /** Which of the requests it answers, from 1. */
  nr: number;
  subscriber_id: string;
  project_id: string;
  email: string | null;
  version: number;
  waiting: boolean;
  last_event_at_ms: number | null;
  snapshot_at_ms: number | null;
  why: MatchReason;
  made_by: { name?: string } | null;
  made_at_ms: number | null;
  app_user_ids: string[] | null;
  has_grants: boolean;
  format: number | null;
  summary_version: number | null;
  valid_until_ms: number | null;
}

interface CardRow extends StoredWorkspace {
  projects: Parameters<typeof toProject>[0][] | null;
  candidates: CandidateJson[] | null;
}

/**
 * Reads what cards show. Cards of a workspace that are opened while others are being read share the next statement.
 */
export interface CardReader {
  /** `null`: unknown workspace. */
  read(workspaceId: string, query: CardQuery): Promise<CardRecord | null>;
  /** `null`: none is stored. */
  summary(workspaceId: string, subscriberId: string): Promise<StoredSummary | null>;
}

/** Cards of one statement: beyond this it takes longer without answering more of them a second. */
const BATCHES = { most: 32 };

export function createCardReader(sql: Sql): CardReader {
  const cards = keyed((workspaceId: string) =>
    createBatcher<CardQuery, CardRecord | null>(async (queries) => {
      const records = await readCards(sql, workspaceId, queries);
      return queries.map((_, index) => records?.[index] ?? null);
    }, BATCHES),
  );
  const summaries = keyed((workspaceId: string) =>
    createBatcher<string, StoredSummary | null>(async (subscriberIds) => {
      const stored = await readStoredSummaries(sql, workspaceId, subscriberIds);
      return subscriberIds.map((subscriberId) => stored.get(subscriberId) ?? null);
    }, BATCHES),
  );
  return {
    read: (workspaceId, query) => cards(workspaceId)(query),
    summary: (workspaceId, subscriberId) => summaries(workspaceId)(subscriberId),
  };
}

/** The contact whose card is opened. */
export interface CardQuery {
  readonly contactId: string;
  readonly externalId: string | null;
  /** A subscriber that the teammate chose before; one of another workspace is not found. */
  readonly chosen: string | null;
}

/**
 * Reads a workspace with the subscribers that are each contact's: by a saved link, else by its external id, one
 * for each project.
 *
 * @returns one for each query, in that order; `null`: unknown workspace
 */
async function readCards(
  sql: Sql,
  workspaceId: string,
  asked: readonly CardQuery[],
): Promise<CardRecord[] | null> {
  const [row] = await sql.query<CardRow>(
    READ_CARDS,
    [
      workspaceId,
      asked.map((one) => one.contactId),
      asked.map((one) => one.externalId),
      asked.map((one) => one.chosen),
    ],
    'read-cards',
  );
  if (!row) return null;
  const { projects: storedProjects, candidates, ...stored } = row;
  const workspace = toWorkspace(stored);
  const projects = (storedProjects ?? []).map(toProject);
  const connected = new Set(projects.map((project) => project.projectId));
  const found: CandidateJson[][] = asked.map(() => []);
  for (const candidate of candidates ?? []) {
    if (connected.has(candidate.project_id)) found[candidate.nr - 1]?.push(candidate);
  }
  return found.map((own) => ({ workspace, projects, candidates: strongest(own) }));
}

/** Each subscriber once, by its strongest reason; the newest activity first. */
function strongest(found: readonly CandidateJson[]): Candidate[] {
  const seen = new Set<string>();
  // A chosen subscriber may be linked as well, and who linked it is worth showing.
  const links = new Map(
    found.flatMap((one) => (one.why === 'link' ? [[one.subscriber_id, toLink(one)] as const] : [])),
  );
  return [...found]
    .sort(
      (a, b) => STRENGTH[a.why] - STRENGTH[b.why] || (b.last_event_at_ms ?? 0) - (a.last_event_at_ms ?? 0),
    )
    .filter((one) => !seen.has(one.subscriber_id) && seen.add(one.subscriber_id))
    .map((one) => toCandidate(one, links.get(one.subscriber_id) ?? null));
}

const STRENGTH: Readonly<Record<MatchReason, number>> = { chosen: 0, link: 1, external_id: 1 };

function toLink(found: CandidateJson): Candidate['link'] {
  return { name: found.made_by?.name ?? '', atMs: found.made_at_ms ?? 0 };
}

function toCandidate(found: CandidateJson, link: Candidate['link']): Candidate {
  const { format, summary_version: version, valid_until_ms: validUntilMs } = found;
  return {
    subscriberId: found.subscriber_id,
    projectId: found.project_id,
    appUserIds: found.app_user_ids ?? [],
    email: found.email,
    snapshotAtMs: found.snapshot_at_ms,
    version: found.version,
    waiting: found.waiting,
    matchedBy: found.why,
    link,
    hasGrants: found.has_grants,
    summary:
      format === null || version === null || validUntilMs === null ? null : { format, version, validUntilMs },
  };
}

/** Stored summaries by subscriber. */
async function readStoredSummaries(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, StoredSummary>> {
  const rows = await sql.query<{
    subscriber_id: string;
    format: number;
    version: string;
    valid_until: Date;
    summary: SubscriberSummary;
  }>(
    `select subscriber_id, format, version, valid_until, summary from subscriber_summaries
      where workspace_id = $1 and subscriber_id = any($2)`,
    [workspaceId, subscriberIds],
    'read-stored-summaries',
  );
  return new Map(
    rows.map((row) => [
      row.subscriber_id,
      {
        format: row.format,
        version: Number(row.version),
        validUntilMs: row.valid_until.getTime(),
        summary: row.summary,
      },
    ]),
  );
}

/** The last snapshot from RevenueCat's API; `null`: none yet. */
export async function readSnapshot(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<Snapshot | null> {
  const [row] = await sql.query<{ snapshot: Snapshot | null }>(
    `select snapshot from subscribers where workspace_id = $1 and subscriber_id = $2`,
    [workspaceId, subscriberId],
    'read-snapshot',
  );
  return row?.snapshot ?? null;
}

export interface FoundSubscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserId: string;
  readonly email: string | null;
  readonly lastEventAtMs: number | null;
}

/** What a list of search results shows, in the given order, without ids of other workspaces and merged ones. */
export async function describeFound(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<FoundSubscriber[]> {
  const rows = await sql.query<{
    subscriber_id: string;
    project_id: string;
    app_user_id: string | null;
    email: string | null;
    last_event_at_ms: string | null;
  }>(
    `select s.subscriber_id, s.project_id, s.email, s.last_event_at_ms,
            (select i.app_user_id from subscriber_ids i
              where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
              order by i.app_user_id like '$RCAnonymousID:%', i.app_user_id limit 1) as app_user_id
       from subscribers s
      where s.workspace_id = $1 and s.subscriber_id = any($2::uuid[]) and s.merged_into is null`,
    [workspaceId, subscriberIds],
  );
  return rows
    .map((row) => ({
      subscriberId: row.subscriber_id,
      projectId: row.project_id,
      appUserId: row.app_user_id ?? row.subscriber_id,
      email: row.email,
      lastEventAtMs: row.last_event_at_ms === null ? null : Number(row.last_event_at_ms),
    }))
    .sort((a, b) => subscriberIds.indexOf(a.subscriberId) - subscriberIds.indexOf(b.subscriberId));
}

/** The link of a contact in one project, before it is replaced. */
export async function readLinkedId(
  sql: Sql,
  workspaceId: string,
  { contactId, projectId }: { contactId: string; projectId: string },
): Promise<string | null> {
  const [row] = await sql.query<{ subscriber_id: string }>(
    `select subscriber_id from contact_links where workspace_id = $1 and contact_id = $2 and project_id = $3`,
    [workspaceId, contactId, projectId],
  );
  return row?.subscriber_id ?? null;
}
