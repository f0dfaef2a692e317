import type { Database, Sql } from '../database/sql.ts';
import { storeEvents } from '../ingestion/store.ts';
import { type ReceivedEvent, toReceived } from '../ingestion/webhook.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { Project } from '../workspaces/projects.ts';

export interface ImportedEvents {
  readonly added: number;
  /** A webhook had brought them, or an earlier import. */
  readonly known: number;
}

/** They name their customers in fields of their own; the others must name the one that they were read of. */
const NAMES_OTHERS = /^(PURCHASES_)?(TRANSFER|PURCHASE_REDEEMED)$/;

/**
 * Reads the events of one customer from the API and stores those that are not known, on the timeline; those since
 * `sinceMs` also become due for the contact.
 *
 * Whether an event has the same id here as in its webhook is UNVERIFIED: one that is stored already is recognised
 * by its id in any letter case, or by its transaction, type and moment.
 *
 * @returns `null`: RevenueCat does not offer the events
 */
export async function importEvents(
  deps: { database: Database; client: RevenueCatClient; now(): number },
  project: Project,
  customer: { readonly customerId: string; readonly appUserIds: readonly string[] },
  sinceMs: number | null,
): Promise<ImportedEvents | null> {
  const { database } = deps;
  const { workspaceId, projectId } = project;
  const bodies = await deps.client.listCustomerEvents(project.revenueCatProjectId, customer.customerId);
  if (bodies === null) return null;
  const stored = await readStored(database, project, customer.appUserIds);
  const fresh: ReceivedEvent[] = [];
  for (const body of bodies) {
    const received = asReceived(body, customer.customerId, deps.now());
    const marks = marksOf({
      id: received.event.id,
      type: received.event.type,
      atMs: received.event.atMs,
      transactionId: received.event.transactionId,
    });
    if (marks.some((mark) => stored.has(mark))) continue;
    for (const mark of marks) stored.add(mark);
    fresh.push(received);
  }
  const statuses =
    fresh.length === 0
      ? []
      : await storeEvents(database, workspaceId, projectId, fresh, {
          isDelivered: ({ event }) => sinceMs !== null && event.atMs >= sinceMs,
        });
  if (sinceMs !== null) await releaseImported(database, project, customer.appUserIds, sinceMs);
  const added = statuses.filter((status) => status === 'accepted').length;
  return { added, known: bodies.length - added };
}

function asReceived(body: Record<string, unknown>, customerId: string, nowMs: number): ReceivedEvent {
  const namesSomebody = typeof body.app_user_id === 'string' || NAMES_OTHERS.test(String(body.type));
  const event = namesSomebody ? body : { ...body, app_user_id: customerId };
  return toReceived(event, JSON.stringify({ api_version: '1.0', event }), nowMs);
}

function marksOf(event: { id: string; type: string; atMs: number; transactionId: string | null }): string[] {
  const byId = `id|${event.id.toLowerCase()}`;
  if (event.transactionId === null) return [byId];
  const type = event.type.replace(/^PURCHASES_/, '');
  return [byId, `content|${event.transactionId}|${type}|${event.atMs}`];
}

async function readStored(sql: Sql, project: Project, appUserIds: readonly string[]): Promise<Set<string>> {
  const rows = await sql.query<{
    event_id: string;
    type: string;
    event_at_ms: string;
    transaction_id: string | null;
  }>(
    `select e.event_id, e.type, e.event_at_ms, e.transaction_id
       from events e
      where e.workspace_id = $1 and e.project_id = $2
        and e.subscriber_id in (select i.subscriber_id from subscriber_ids i
                                 where i.workspace_id = $1 and i.project_id = $2 and i.app_user_id = any($3))`,
    [project.workspaceId, project.projectId, appUserIds],
    'read-stored-events',
  );
  return new Set(
    rows.flatMap((row) =>
      marksOf({
        id: row.event_id,
        type: row.type,
        atMs: Number(row.event_at_ms),
        transactionId: row.transaction_id,
      }),
    ),
  );
}

/** An earlier import kept them to the timeline; now they are asked for. */
async function releaseImported(
  sql: Sql,
  project: Project,
  appUserIds: readonly string[],
  sinceMs: number,
): Promise<void> {
  await sql.query(
    `with released as (
       update events e set delivery = 'pending', reason = null
        where e.workspace_id = $1 and e.project_id = $2 and e.side = 'customer' and e.event_at_ms >= $4
          and e.delivery = 'skipped' and e.reason = 'imported'
          and e.subscriber_id in (select i.subscriber_id from subscriber_ids i
                                   where i.workspace_id = $1 and i.project_id = $2 and i.app_user_id = any($3))
       returning e.subscriber_id
     )
     update subscribers s set due_at = now(), version = s.version + 1, waiting = false
       from (select distinct subscriber_id from released) r
      where s.workspace_id = $1 and s.subscriber_id = r.subscriber_id`,
    [project.workspaceId, project.projectId, appUserIds, sinceMs],
  );
}
