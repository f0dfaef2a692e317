import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { type Catalog, FORMS, findCitusForms, readCatalog } from './citus-forms.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { tenantTables } from './tenancy.ts';

const { lazyCall, callInReturning, callInConflict, stableOfColumn, volatileInModification } = FORMS;
const { correlatedWorkspace, namedCte, parameterInConflict } = FORMS;
const { insertInWith, insertAfterModification, subqueryInValues, workspaceChanged, localTable, simpleCase } =
  FORMS;

describe('forms that Citus refuses', () => {
  let db: TestDatabase;
  let catalog: Catalog;

  before(async () => {
    db = await createTestDatabase();
    const client = new pg.Client({ connectionString: db.url });
    await client.connect();
    catalog = await readCatalog(client, await tenantTables(client));
    await client.end();
  });
  after(() => db?.close());

  const forms = (text: string): string[] => findCitusForms(catalog, text);
  const update = (set: string, rest = ''): string[] =>
    forms(`update subscribers s set ${set} ${rest} where s.workspace_id = $1`);

  test('an INSERT inside a WITH, however deep', () => {
    const cte = `with e as (insert into events (workspace_id) values ($1) returning event_id)`;
    assert.deepEqual(forms(`${cte} select * from e`), [insertInWith]);
    assert.deepEqual(forms(`${cte} update projects set name = '' where workspace_id = $1`), [insertInWith]);
    assert.deepEqual(forms(`${cte}, n as (select 1) select (select count(*) from e)`), [insertInWith]);
  });

  test('an INSERT behind a modification in its WITH', () => {
    const insert = `insert into events (workspace_id, event_id) select $1, id from m`;
    const gone = `delete from events where workspace_id = $1 returning event_id as id`;
    const moved = `update events set reason = null where workspace_id = $1 returning event_id as id`;
    assert.deepEqual(forms(`with m as (${gone}) ${insert}`), [insertAfterModification]);
    assert.deepEqual(forms(`with m as (${moved}) ${insert}`), [insertAfterModification]);
    assert.deepEqual(
      forms(`with m as (select event_id as id from events where workspace_id = $1) ${insert}`),
      [],
    );
  });

  test('a subquery among the values of an INSERT', () => {
    const insert = (value: string): string[] =>
      forms(`insert into events (workspace_id, event_id) values ($1, ${value})`);
    assert.deepEqual(insert('(select max(event_id) from events where workspace_id = $1)'), [
      subqueryInValues,
    ]);
    assert.deepEqual(insert(`coalesce($2, (select 'x'))`), [subqueryInValues]);
    assert.deepEqual(insert('coalesce($2, now()::text)'), []);
  });

  test('a call inside CASE or COALESCE of an UPDATE, in SET and in WHERE', () => {
    assert.deepEqual(update(`due_at = case when waiting then now() end`), [lazyCall]);
    assert.deepEqual(update(`due_at = case when due_at < now() then due_at end`), [lazyCall]);
    assert.deepEqual(update(`due_at = least(due_at, coalesce(due_at, now()))`), [lazyCall]);
    assert.deepEqual(update(`due_at = case when waiting then coalesce(due_at, current_timestamp) end`), [
      lazyCall,
    ]);
    assert.deepEqual(
      update(`due_at = case when waiting then (select max(due_at) + interval '1 s' from x) end`),
      [localTable, lazyCall, stableOfColumn],
    );
    assert.deepEqual(
      forms(`delete from subscribers where workspace_id = $1 and coalesce(due_at, now()) <= now()`),
      [lazyCall],
    );
    assert.deepEqual(update(`due_at = least(due_at, now())`), []);
    assert.deepEqual(update(`due_at = case when waiting then due_at else lease_until end`), []);
    assert.deepEqual(
      forms(`select coalesce(due_at, now()) from subscribers where workspace_id = $1`),
      [],
      'reading may',
    );
  });

  test('also in an UPDATE inside a WITH', () => {
    const inner = `update subscribers set due_at = coalesce(due_at, now()) where workspace_id = $1 returning 1`;
    assert.deepEqual(forms(`with u as (${inner}) select count(*) from u`), [lazyCall]);
  });

  test('a moment that is read from text: it depends on the time zone of the session', () => {
    const from = `from unnest($2::text[]) as t (at)`;
    assert.deepEqual(update(`due_at = case when waiting then t.at::timestamptz end`, from), [
      lazyCall,
      stableOfColumn,
    ]);
    assert.deepEqual(update(`due_at = case when waiting then $2::timestamptz end`), []);
    assert.deepEqual(update(`snapshot = case when waiting then t.at::jsonb end`, from), []);
  });

  test('a call that PostgreSQL puts into the place of a column', () => {
    const set = `due_at = case when s.waiting then clock.at end`;
    assert.deepEqual(update(set, `from (select now() as at) as clock`), [lazyCall]);
    assert.deepEqual(update(set, `from (select c.at from (select now() as at) as c) as clock`), [lazyCall]);
    assert.deepEqual(update(`due_at = coalesce(due_at, now)`, `from (select now()) as clock`), [lazyCall]);
    const cte = (kind: string): string[] =>
      forms(`with clock as ${kind} (select now() as at)
             update subscribers s set ${set} from clock where s.workspace_id = $1`);
    assert.deepEqual(cte(''), [lazyCall]);
    assert.deepEqual(cte('materialized'), []);
    assert.deepEqual(update(set, `from (select now() as at offset 0) as clock`), []);
  });

  test('a call in RETURNING', () => {
    const returning = (what: string, from = ''): string[] =>
      forms(`update subscribers s set waiting = false ${from} where s.workspace_id = $1 returning ${what}`);
    assert.deepEqual(returning(`due_at <= now()`), [callInReturning]);
    assert.deepEqual(
      returning(`s.*, exists (select 1 from events e where e.workspace_id = $1 and e.at < now())`),
      [callInReturning],
    );
    assert.deepEqual(returning(`clock.at`, `from (select now() as at) as clock`), [callInReturning]);
    assert.deepEqual(returning(`due_at <= clock.at`, `from (select now() as at offset 0) as clock`), []);
    assert.deepEqual(returning(`exists (select 1 from events e where e.workspace_id = $1)`), []);
    assert.deepEqual(forms(`delete from events where workspace_id = $1 returning now()`), [callInReturning]);
    assert.deepEqual(forms(`insert into events (workspace_id) values ($1) returning clock_timestamp()`), [
      callInReturning,
    ]);
  });

  test('any call in ON CONFLICT, and a parameter behind rows that are selected', () => {
    const conflict = (set: string, rows = 'values ($1, $2)'): string[] =>
      forms(`insert into projects (workspace_id, project_id) ${rows}
             on conflict (workspace_id, project_id) do update set ${set}`);
    assert.deepEqual(conflict(`last_received_at = now()`), [callInConflict]);
    assert.deepEqual(conflict(`name = '' where projects.last_received_at < now()`), [callInConflict]);
    assert.deepEqual(conflict(`last_received_at = excluded.last_received_at`), []);
    assert.deepEqual(conflict('name = $3'), []);
    assert.deepEqual(conflict('name = $3', 'select $1, unnest($2::text[])'), [parameterInConflict]);
  });

  test('a volatile function in SET, WHERE or WITH', () => {
    assert.deepEqual(update(`due_at = clock_timestamp()`), [volatileInModification]);
    assert.deepEqual(update(`attempts = 0`, `from events e`), []);
    assert.deepEqual(
      forms(`update subscribers set attempts = 0 where workspace_id = $1 and subscriber_id in
             (select subscriber_id from events where workspace_id = $1 and random() < 0.5)`),
      [volatileInModification],
    );
    assert.deepEqual(
      forms(`with n as (select pg_notify('x', $1)) delete from events where workspace_id = $1`),
      [volatileInModification],
    );
    assert.deepEqual(update(`due_at = statement_timestamp()`), []);
  });

  test('a stable function that is given a column', () => {
    assert.deepEqual(update(`due_at = due_at + interval '1 day'`), [stableOfColumn]);
    assert.deepEqual(update(`due_at = now() + make_interval(secs => attempts)`), [stableOfColumn]);
    assert.deepEqual(update(`email = to_char(due_at, 'YYYY')`), [stableOfColumn]);
    assert.deepEqual(update(`attempts = extract(epoch from due_at)`), [stableOfColumn]);
    assert.deepEqual(update(`attempts = extract(epoch from due_at - lease_until)`), []);
    assert.deepEqual(update(`due_at = now() - interval '1 day', email = lower(email)`), []);
    assert.deepEqual(update(`due_at = to_timestamp(version / 1000.0)`), []);
  });

  test('CASE with a value to compare, in what changes rows', () => {
    assert.deepEqual(update(`waiting = case email when $2 then true else waiting end`), [simpleCase]);
    assert.deepEqual(update(`waiting = case when email = $2 then true else waiting end`), []);
    assert.deepEqual(
      forms(`insert into projects as p (workspace_id, name) values ($1, '') on conflict (workspace_id) do update
             set name = case p.name when '' then excluded.name else p.name end`),
      [simpleCase],
    );
    assert.deepEqual(
      forms(`select case name when '' then 'x' end from projects where workspace_id = $1`),
      [],
      'reading may',
    );
  });

  test('another workspace, and a table that Citus does not spread', () => {
    assert.deepEqual(update(`workspace_id = $2`), [workspaceChanged]);
    assert.deepEqual(forms(`select 1 from events e join workers w on true where e.workspace_id = $1`), [
      localTable,
    ]);
    assert.deepEqual(
      forms(`update workers set worker_id = clock_timestamp()::text`),
      [],
      'by itself it may be used',
    );
  });

  test('a subquery in an expression that another table ties to the workspace', () => {
    const select = (workspace: string): string =>
      `select array(select i.app_user_id from subscriber_ids i
                     where i.workspace_id = ${workspace} and i.subscriber_id = s.subscriber_id)
         from subscribers s where s.workspace_id = $1`;
    assert.deepEqual(forms(select('s.workspace_id')), [correlatedWorkspace]);
    assert.deepEqual(forms(select('$1')), []);
  });

  test('columns named behind a WITH query', () => {
    const pair = `select subscriber_id, contact_id from contact_links where workspace_id = $1`;
    assert.deepEqual(forms(`with pair (mine, other) as (${pair}) select mine from pair`), [namedCte]);
    assert.deepEqual(forms(`with pair as (${pair}) select subscriber_id from pair`), []);
  });
});
