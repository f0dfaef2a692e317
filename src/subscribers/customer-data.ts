import type { Database, Sql } from '../database/sql.ts';
import { CUSTOMER_LIST_TABLES, CUSTOMER_TABLES } from '../database/tables.ts';
import { WAKE, WAKE_AND_REWRITE, wakeSubscribers } from '../database/wake-subscribers.ts';
import { deleteCustomerJobs } from '../jobs/jobs.ts';
import { identifiersOf } from '../subscription/read-event.ts';
import { withoutCustomer } from '../workspaces/audit.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { fieldsWithout, recordErased, withoutErased } from './erased-ids.ts';
import { lockProject } from './identity.ts';

/** Everything that is stored about some subscribers: a list of rows for each table. */
export async function exportSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Record<string, unknown[]>> {
  const data: Record<string, unknown[]> = {};
  const values = [workspaceId, await withMerged(sql, workspaceId, subscriberIds)];
  for (const { table, where, isExported } of CUSTOMER_TABLES) {
    if (!isExported) continue;
    data[table] = await sql.query(`select * from ${table} where workspace_id = $1 and ${where}`, values);
  }
  return data;
}

/**
 * Adds the subscribers that these were merged with. A delivery or a card that began before a merge stores rows under
 * the subscriber it knew, and a subscriber that is to be erased may have been merged into another one since.
 */
async function withMerged(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<string[]> {
  const rows = await sql.query<{ subscriber_id: string }>(
    `with recursive same as (
       select subscriber_id, merged_into from subscribers
        where workspace_id = $1 and subscriber_id = any($2::uuid[])
        union
       select s.subscriber_id, s.merged_into from subscribers s
         join same on s.subscriber_id = same.merged_into or s.merged_into = same.subscriber_id
        where s.workspace_id = $1)
     select subscriber_id from same`,
    [workspaceId, subscriberIds],
  );
  return rows.map((row) => row.subscriber_id);
}

/**
 * Erases subscribers for good, and remembers keyed hashes of their app user ids, so that nothing stores them again.
 * The audit log keeps who did what and when, without the customer: it is the record of the team.
 */
export async function eraseSubscribers(
  { database, secrets }: { readonly database: Database; readonly secrets: SecretBox },
  workspaceId: string,
  erased: { readonly subscriberIds: readonly string[]; readonly by: object },
): Promise<void> {
  // Repeated after a deadlock: an import may hold rows of these customers while it waits for the project's lock.
  await database.transaction(async (sql) => {
    const projects = await sql.query<{ project_id: string }>(
      `select distinct project_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2::uuid[]) order by project_id`,
      [workspaceId, erased.subscriberIds],
    );
    for (const { project_id: projectId } of projects) await lockProject(sql, { workspaceId, projectId });
    const subscriberIds = await withMerged(sql, workspaceId, erased.subscriberIds);
    const values = [workspaceId, subscriberIds];
    // Waits until deliveries that write rows of these subscribers have committed.
    await sql.query(
      `select 1 from subscribers where workspace_id = $1 and subscriber_id = any($2::uuid[])
        order by subscriber_id for update`,
      values,
    );
    const customers = await readErasedCustomers(sql, workspaceId, subscriberIds);
    await recordErased({ sql, secrets }, workspaceId, { ids: customers.ids, by: erased.by });
    await eraseFromOthers(sql, workspaceId, customers);
    await restartLists(sql, workspaceId, customers.appUserIds);
    // Other subscribers of the contact write their own attributes again, over those of the erased customer.
    await wakeSubscribers(sql, workspaceId, {
      set: WAKE_AND_REWRITE,
      where: `s.contact_id in (select contact_id from subscribers
                                where workspace_id = $1 and subscriber_id = any($2::uuid[]))`,
      values: [subscriberIds],
    });
    for (const { table, where, onErase } of CUSTOMER_TABLES) {
      await sql.query(
        onErase === 'delete'
          ? `delete from ${table} where workspace_id = $1 and ${where}`
          : `update ${table}
                set subscriber_id = null, contact_id = null, conversation_id = null,
                    details = ${withoutCustomer('details')}
              where workspace_id = $1 and ${where}`,
        values,
      );
    }
    const { texts, emails } = customers;
    await deleteCustomerJobs(sql, workspaceId, { appUserIds: [...texts], emails, subscriberIds });
  });
}

/** Ids of the projects in which an import or a bulk grant lists a customer, as pending or with the result. */
export async function findListingProjects(
  sql: Sql,
  workspaceId: string,
  appUserId: string,
): Promise<string[]> {
  const rows = await sql.query<{ project_id: string }>(
    `select project_id from import_customers where workspace_id = $1 and customer_id = $2
      union
     select b.project_id from bulk_grants b
       join bulk_grant_customers c on c.workspace_id = $1 and c.bulk_grant_id = b.bulk_grant_id
      where b.workspace_id = $1 and c.app_user_id = $2
      order by project_id`,
    [workspaceId, appUserId],
  );
  return rows.map((row) => row.project_id);
}

/** Everything that is stored about a customer who is on lists but is no subscriber: a list of rows for each table. */
export async function exportFromLists(
  sql: Sql,
  workspaceId: string,
  appUserId: string,
): Promise<Record<string, unknown[]>> {
  const data: Record<string, unknown[]> = {};
  for (const { table, idColumn } of CUSTOMER_LIST_TABLES)
    data[table] = await sql.query(`select * from ${table} where workspace_id = $1 and ${idColumn} = $2`, [
      workspaceId,
      appUserId,
    ]);
  return data;
}

/** Erases a customer who is on lists but is no subscriber. */
export async function eraseFromLists(
  { database, secrets }: { readonly database: Database; readonly secrets: SecretBox },
  workspaceId: string,
  { appUserId, by }: { readonly appUserId: string; readonly by: object },
): Promise<void> {
  await database.transaction(async (sql) => {
    const projectIds = await findListingProjects(sql, workspaceId, appUserId);
    for (const projectId of projectIds) await lockProject(sql, { workspaceId, projectId });
    const ids = projectIds.map((projectId) => ({ projectId, appUserId, subscriberId: appUserId }));
    await recordErased({ sql, secrets }, workspaceId, { ids, by });
    await restartLists(sql, workspaceId, [appUserId]);
    for (const { table, idColumn } of CUSTOMER_LIST_TABLES)
      await sql.query(`delete from ${table} where workspace_id = $1 and ${idColumn} = $2`, [
        workspaceId,
        appUserId,
      ]);
    await deleteCustomerJobs(sql, workspaceId, { appUserIds: [appUserId], emails: [], subscriberIds: [] });
  });
}

/** Restarts the lists of imports whose cursor names an erased customer: without a cursor they begin again. */
async function restartLists(sql: Sql, workspaceId: string, appUserIds: readonly string[]): Promise<void> {
  await sql.query(`update imports set cursor = null where workspace_id = $1 and cursor = any($2)`, [
    workspaceId,
    appUserIds,
  ]);
}

type ErasedCustomers = Awaited<ReturnType<typeof readErasedCustomers>>;

async function readErasedCustomers(sql: Sql, workspaceId: string, subscriberIds: readonly string[]) {
  const values = [workspaceId, subscriberIds];
  const ids = await sql.query<{ projectId: string; appUserId: string; subscriberId: string }>(
    `select project_id as "projectId", app_user_id as "appUserId", subscriber_id as "subscriberId"
       from subscriber_ids where workspace_id = $1 and subscriber_id = any($2::uuid[])`,
    values,
  );
  const rows = await sql.query<{ email: string | null; attributes: Record<string, unknown> | null }>(
    `select email, snapshot->'attributes' as attributes from subscribers
      where workspace_id = $1 and subscriber_id = any($2::uuid[])`,
    values,
  );
  const appUserIds = ids.map(({ appUserId }) => appUserId);
  const personal = rows.flatMap(({ email, attributes }) => [
    email,
    attributes?.$email,
    attributes?.$displayName,
  ]);
  // Texts that no other customer's rows may contain.
  const texts = [...appUserIds, ...personal].filter((each) => typeof each === 'string' && each !== '');
  const emails = rows.flatMap(({ email }) => email ?? []);
  return { subscriberIds, ids, appUserIds, emails, texts: new Set(texts as string[]) };
}

interface WebhookKey {
  project_id: string;
  event_id: string;
}

/**
 * Events of other customers that may name these. With `or` in place of `union`, it read all events of all workspaces:
 * 4 s for a million, during which no webhook of the project was interpreted.
 */
export function findEventsOfOthers(
  sql: Sql,
  workspaceId: string,
  { subscriberIds, texts }: Pick<ErasedCustomers, 'subscriberIds' | 'texts'>,
) {
  return sql.query<WebhookKey & { side: string; subscriber_id: string; fields: string }>(
    `select project_id, event_id, side, subscriber_id, fields::text as fields from events
      where workspace_id = $1 and subscriber_id <> all($2::uuid[])
        and (project_id, event_id) in (
          select project_id, event_id from events where workspace_id = $1 and subscriber_id = any($2::uuid[])
           union
          select project_id, event_id from events
           where workspace_id = $1 and side = 'customer' and kind in ('transfer', 'purchase_redeemed')
             and ${hasPart('fields::text', '$3')})`,
    [workspaceId, subscriberIds, [...texts].flatMap(partsOf)],
  );
}

/** Erases the customers from rows of others: transfers, logged requests, webhooks, actions and the audit log. */
async function eraseFromOthers(sql: Sql, workspaceId: string, customers: ErasedCustomers): Promise<void> {
  const { appUserIds, texts } = customers;
  const found = await findEventsOfOthers(sql, workspaceId, customers);
  const events = found.flatMap((row) => {
    const fields = JSON.parse(row.fields);
    const left = JSON.stringify(fieldsWithout(fields, texts));
    return left === JSON.stringify(fields) ? [] : [{ ...row, left }];
  });
  for (const { project_id, event_id, side, left } of events) {
    await sql.query(
      `update events set fields = $5::json
        where workspace_id = $1 and project_id = $2 and event_id = $3 and side = $4`,
      [workspaceId, project_id, event_id, side, left],
    );
  }
  const others = [...new Set(events.map((row) => row.subscriber_id))];
  await sql.query(
    `delete from delivery_attempts
      where workspace_id = $1 and subscriber_id = any($2::uuid[])
        and (${hasPart('request::text', '$3')} or ${hasPart('answer', '$3')})`,
    [workspaceId, others, [...texts].flatMap(partsOf)],
  );
  await sql.query(
    `delete from subscriber_summaries where workspace_id = $1 and subscriber_id = any($2::uuid[])`,
    [workspaceId, others],
  );
  await wakeSubscribers(sql, workspaceId, {
    set: `${WAKE}, email = case when s.email = any($3) then null else s.email end`,
    where: 's.subscriber_id = any($2)',
    values: [others, [...texts]],
  });
  const webhooks = [...events, ...(await findOnlyTheirs(sql, workspaceId, customers))];
  await sql.query(
    `delete from webhooks
      where workspace_id = $1 and (project_id, event_id) in (select * from unnest($2::text[], $3::text[]))`,
    [workspaceId, webhooks.map((row) => row.project_id), webhooks.map((row) => row.event_id)],
  );
  await sql.query(
    `update actions set target = '', details = details || '{"product": "…"}'
      where workspace_id = $1 and kind = 'transfer' and target = any($2)`,
    [workspaceId, appUserIds],
  );
  await sql.query(
    `update audit_log set details = details - '{target,product}'::text[]
      where workspace_id = $1 and action like 'store_transfer%' and details->>'target' = any($2)`,
    [workspaceId, appUserIds],
  );
}

/**
 * Uninterpreted webhooks that would bring the customers back. A waiting webhook that also concerns another customer
 * stays: the processor takes the erased customer out of it. A failed one goes, since it may never be interpreted.
 */
async function findOnlyTheirs(
  sql: Sql,
  workspaceId: string,
  { ids, appUserIds }: ErasedCustomers,
): Promise<WebhookKey[]> {
  const rows = await sql.query<WebhookKey & { payload: string; error: string | null }>(
    `select project_id, event_id, payload, error from webhooks
      where workspace_id = $1 and (processed_at is null or error is not null) and ${hasPart('payload', '$2')}`,
    [workspaceId, appUserIds.flatMap(partsOf)],
  );
  const byProject = Map.groupBy(ids, ({ projectId }) => projectId);
  return rows.filter(({ project_id, payload, error }) => {
    const erased = new Set(byProject.get(project_id)?.map(({ appUserId }) => appUserId));
    const { customer, source } = identifiersOf(JSON.parse(payload).event);
    const left = [...withoutErased(customer, erased), ...withoutErased(source, erased)];
    const isNamed = left.length < customer.length + source.length;
    return isNamed && (error !== null || left.length === 0);
  });
}

/**
 * What to look for between quotes in JSON that may contain this text: as we write it, and as a serializer that writes
 * only ASCII does. A text with quotes in it is cut at its first quote.
 */
function partsOf(text: string): string[] {
  const written = JSON.stringify(text);
  const ascii = written.replaceAll(
    /[\u0080-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return [written, ascii].map((json) => json.split('"')[1] ?? '');
}

/** SQL for "JSON has one of these parts". The list is hashed; patterns took 28 s for 1,000 ids and 20,000 transfers. */
function hasPart(json: string, parts: string): string {
  return `exists (select 1 from string_to_table(${json}, '"') part where part = any(${parts}::text[]))`;
}
