import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { MIGRATIONS, migrate, undoMigrations } from '../../src/database/data-source.ts';
import { storeEvents } from '../../src/ingestion/store.ts';
import { toReceived } from '../../src/ingestion/webhook.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { eventBody, START_MS } from '../support/events.ts';

const CUSTOMERS = 500;

/** Rows in every table of the first version, as it would have written them. */
const FILL = `
insert into workspaces (workspace_id, name, settings) select 'w' || n, 'Workspace ' || n, '{"grants": {}}' from generate_series(1, 3) n;
insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
  select workspace_id, workspace_id || '-p', 'proj1', 'Project', 'hash' from workspaces;
insert into subscribers (workspace_id, project_id, subscriber_id, email, version)
  select 'w' || (1 + n % 3), 'w' || (1 + n % 3) || '-p', md5(n::text)::uuid, 'u' || n || '@example.com', n from generate_series(1, ${CUSTOMERS}) n;
insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
  select workspace_id, project_id, 'user-' || version, subscriber_id from subscribers;
insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, payload, delivery)
  select workspace_id, project_id, 'e' || version || '-' || n, subscriber_id, 'RENEWAL', 'renewal', ${START_MS} + n, json_build_object('event', json_build_object('type', 'RENEWAL')),
         case when n = 1 then 'pending' else 'delivered' end
    from subscribers, generate_series(1, 4) n;
insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, code)
  select workspace_id, subscriber_id, event_id, '{}', 'ok' from events where delivery = 'delivered';
insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by)
  select workspace_id, 'c' || version, project_id, subscriber_id, '{"id": "1", "name": "Ada"}' from subscribers where version % 5 = 0;
insert into catalog (workspace_id, project_id, kind, id, lookup_key) select workspace_id, project_id, 'entitlement', 'entl1', 'pro' from projects;
insert into grants (workspace_id, grant_id, project_id, subscriber_id, app_user_id, entitlement_id, lookup_key, duration, asked_end, reason, idempotency_key, admin)
  select workspace_id, subscriber_id, project_id, subscriber_id, 'user', 'entl1', 'pro', 'monthly', now(), 'because', subscriber_id::text, '{}' from subscribers where version % 7 = 0;
insert into audit_log (workspace_id, actor, action, result) select workspace_id, '{}', 'grant', 'confirmed' from grants;
insert into notifications (workspace_id, notification_id) select workspace_id, 'n1' from workspaces;
insert into sessions (workspace_id, session_hash, admin, csrf, expires_at) select workspace_id, 'h', '{}', 'c', now() from workspaces;
insert into oauth_states (state_hash, purpose, expires_at) values ('s', 'install', now());
`;

/** States of a grant that the first version does not know: they go with the migration that brought them. */
const NEWER_STATES = ['awaiting_approval', 'declined', 'withdrawn'];
const OLDER_STATES = ['requested', 'confirmed', 'failed', 'revoking', 'revoked'];

/** Rows that only the newest version writes, in every table and column that came after the first. */
const FILL_NEWEST = `
update workspaces set refusals = '{"events": {"code": "intercom_scope_missing", "message": "no"}}', health_told = '{"state": "OK"}', checked_at = now(), disconnected_at = now();
update projects set missing_scopes = '["customer_information:customers:read"]';
update delivery_attempts set answer = '{"b": 1, "a": 2}' where attempt_id % 10 = 0;
insert into call_budgets (workspace_id, quota, calls_left, until_ms) select workspace_id, 100, 50, 1 from workspaces;
insert into workers (worker_id) values (md5('worker')::uuid);
insert into api_keys (workspace_id, key_hash, key_id, kind, name, prefix, created_by) select workspace_id, 'hash', md5(workspace_id)::uuid, 'fin', 'Fin', 'stk_', '{}' from workspaces;
insert into revenuecat_budgets (workspace_id, project_id, domain, per_minute, tokens, at_ms) select workspace_id, project_id, 'customer', 480, 1.5, 1 from projects;
insert into imports (workspace_id, project_id, import_id) select workspace_id, project_id, md5(project_id)::uuid from projects;
insert into import_customers (workspace_id, project_id, import_id, customer_id) select workspace_id, project_id, import_id, 'c1' from imports;
insert into reconcile_marks (workspace_id, subscriber_id, version) select workspace_id, subscriber_id, version from subscribers;
insert into retention_marks (workspace_id, done_until) select workspace_id, now() from workspaces;
insert into subscriber_summaries (workspace_id, subscriber_id, format, version, valid_until, summary) select workspace_id, subscriber_id, 1, version, now(), '{}' from subscribers;
insert into grants (workspace_id, grant_id, project_id, subscriber_id, app_user_id, entitlement_id, lookup_key, duration, asked_end, reason, idempotency_key, admin, state, entitlement_name, before_end, asked_at, answered, kept, decided_by, revoked_by, revoke_reason, revoke_asked_at)
  select s.workspace_id, md5(state)::uuid, s.project_id, s.subscriber_id, 'user', 'entl1', 'pro', 'custom', now(), 'because', 'new-' || state, '{"id": "1"}', state, 'Pro', now(), now(), true, true, '{"id": "2"}', '{"id": "2"}', 'enough', now()
    from subscribers s, unnest(array['${[...NEWER_STATES, ...OLDER_STATES].join("','")}']) state where s.version = 1;
insert into grant_notes (workspace_id, grant_id, subscriber_id, step, conversation_id, admin_id) select workspace_id, grant_id, subscriber_id, 'granted', '1', '1' from grants;
insert into grant_makers (workspace_id, admin_id) select workspace_id, '1' from workspaces;
`;

describe('migrations of a filled database', () => {
  let db: TestDatabase;
  /** Columns of the first version by table, but those that a later one replaces by something else. */
  const olderColumns = new Map<string, string>();
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db?.close());

  const query = (text: string) => db.database.query<Record<string, unknown>>(text);
  async function run(script: string): Promise<void> {
    for (const statement of script.split(/;\n/).filter((text) => text.trim() !== '')) await query(statement);
  }

  /** What every column, index and constraint looks like. */
  async function schema(): Promise<unknown> {
    return {
      columns: await query(
        `select table_name, column_name, data_type, is_nullable, column_default, is_identity
           from information_schema.columns where table_schema = 'public' and table_name <> 'schema_migrations'
          order by 1, 2`,
      ),
      indexes: await query(
        `select indexdef from pg_indexes where schemaname = 'public' and tablename <> 'schema_migrations' order by 1`,
      ),
      checks: await query(
        `select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint
          where connamespace = 'public'::regnamespace order by 1, 2`,
      ),
    };
  }

  /** Number of rows and a checksum of each table's columns, for the columns named. */
  async function contents(columns: ReadonlyMap<string, string>): Promise<Record<string, unknown>> {
    const result: Record<string, unknown> = {};
    for (const [table, list] of columns) {
      const [row] = await query(
        `select count(*)::int as rows, md5(string_agg(t::text, ',' order by t::text)) as sum from (select ${list} from ${table}) t`,
      );
      result[table] = row;
    }
    return result;
  }

  async function columnsOf(): Promise<Map<string, string[]>> {
    const rows = await db.database.query<{ table_name: string; list: string[] }>(
      `select table_name, array_agg(column_name::text order by ordinal_position) as list
         from information_schema.columns where table_schema = 'public' and table_name <> 'schema_migrations' group by 1`,
    );
    return new Map(rows.map((row) => [row.table_name, row.list]));
  }

  test('later versions can be taken back and run again, and what the first version stored is kept', async () => {
    const newest = await schema();
    const newestColumns = await columnsOf();
    const undone = await undoMigrations(db.dataSource, MIGRATIONS.length - 1);
    assert.equal(undone.length, MIGRATIONS.length - 1);

    await run(FILL);
    const columns = olderColumns;
    for (const [table, list] of await columnsOf()) {
      const kept = list.filter((column) => newestColumns.get(table)?.includes(column));
      if (kept.length > 0) columns.set(table, kept.join(', '));
    }
    const filled = await contents(columns);
    for (const [table, content] of Object.entries(filled))
      assert.ok((content as { rows: number }).rows > 0, `${table} is empty: the test would show nothing`);

    const done = await migrate(db.dataSource);
    assert.equal(done.length, MIGRATIONS.length - 1);
    assert.deepEqual(await contents(columns), filled, 'after the upgrade');
    assert.deepEqual(await schema(), newest);

    for (let count = 1; count < MIGRATIONS.length; count += 1) {
      await undoMigrations(db.dataSource, count);
      assert.deepEqual(await contents(columns), filled, `after taking back ${count}`);
      await migrate(db.dataSource);
      assert.deepEqual(await contents(columns), filled, `after running ${count} again`);
    }
    assert.deepEqual(await schema(), newest);
  });

  test('the app goes on where the older version stopped', async () => {
    const received = toReceived(
      eventBody({ id: randomUUID(), app_user_id: 'user-3', original_app_user_id: 'user-3', aliases: [] }),
      '{}',
      START_MS,
    );
    const [row] = await query(
      `select workspace_id, subscriber_id from subscriber_ids where app_user_id = 'user-3'`,
    );
    const workspaceId = String(row?.workspace_id);
    assert.deepEqual(await storeEvents(db.database, workspaceId, `${workspaceId}-p`, [received]), [
      'accepted',
    ]);
    const [stored] = await query(
      `select count(*)::int as n from events where subscriber_id = '${row?.subscriber_id}'`,
    );
    assert.equal(stored?.n, 5);
  });

  test('what only newer versions store is lost with them when they are taken back, and nothing else', async () => {
    const newest = await schema();
    await run(FILL_NEWEST);
    for (const table of (await columnsOf()).keys()) {
      const [row] = await query(`select exists (select 1 from ${table}) as filled`);
      assert.ok(row?.filled, `${table} is empty: the test would show nothing`);
    }
    const others = new Map([...olderColumns].filter(([table]) => table !== 'grants'));
    const grants = () => query(`select ${olderColumns.get('grants')} from grants order by grant_id`);
    const kept = await contents(others);
    const keptGrants = (await grants()).filter(({ state }) => !NEWER_STATES.includes(String(state)));
    for (const state of OLDER_STATES) assert.ok(keptGrants.some((grant) => grant.state === state));

    await undoMigrations(db.dataSource, MIGRATIONS.length - 1);
    assert.deepEqual(await contents(others), kept, 'after taking all back');
    assert.deepEqual(await grants(), keptGrants, 'grants after taking all back');
    assert.deepEqual([...(await columnsOf()).keys()].toSorted(), [...olderColumns.keys()].toSorted());

    await migrate(db.dataSource);
    assert.deepEqual(await contents(others), kept, 'after the upgrade');
    assert.deepEqual(await grants(), keptGrants, 'grants after the upgrade');
    assert.deepEqual(await schema(), newest);
  });

  test('the first version can be taken back as well', async () => {
    await undoMigrations(db.dataSource, MIGRATIONS.length);
    const tables = await query(
      `select table_name from information_schema.tables where table_schema = 'public' and table_name <> 'schema_migrations'`,
    );
    assert.deepEqual(tables, []);
  });
});
