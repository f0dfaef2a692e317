import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Registry } from 'prom-client';
import { addDatabaseMetrics } from '../../src/database/metrics.ts';
import { withoutReplica } from '../../src/database/replica.ts';
import { addBacklogMetrics } from '../../src/delivery/metrics.ts';
import { addJobMetrics } from '../../src/jobs/metrics.ts';
import { DAY_MS } from '../../src/time.ts';
import { addWorkspaceMetrics } from '../../src/workspaces/metrics.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import { type Exposed, groupedBy, readExposition, selectorsOf } from './promql.ts';

/** Grafana's variable for the data source. */
const DATA_SOURCE = '$'.concat('{datasource}');
const OPS = join(import.meta.dirname, '../../ops');
/** Everything that identifies a customer begins with this. */
const MARK = 'zqperson';
/** Labels that Prometheus adds to what it scrapes. */
const ADDED = new Set(['job', 'instance']);

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly datasource: { readonly uid: string } }[];
}

async function readDashboard(): Promise<Panel[]> {
  const text = await readFile(join(OPS, 'grafana-dashboard.json'), 'utf8');
  return (JSON.parse(text) as { panels: Panel[] }).panels;
}

async function readAlerts(): Promise<{ name: string; expression: string; todo: string; severity: string }[]> {
  const text = await readFile(join(OPS, 'alerts.yaml'), 'utf8');
  const rules = text.split(/^ {6}- alert: /m).slice(1);
  return rules.map((rule) => ({
    name: rule.split('\n')[0] ?? '',
    expression: /^ {8}expr: (.+)$/m.exec(rule)?.[1] ?? '',
    todo: /^ {10}description: ["'](.+)["']$/m.exec(rule)?.[1] ?? '',
    severity: /^ {8}labels: \{ severity: (\w+) \}$/m.exec(rule)?.[1] ?? '',
  }));
}

function addGauges(registry: Registry, database: TestDatabase['database']): void {
  const to = { registry, database };
  addDatabaseMetrics(registry, { database, readDatabase: withoutReplica(database) });
  addJobMetrics(to);
  addWorkspaceMetrics(to);
  addBacklogMetrics(to);
}

describe('metrics, dashboard and alerts', () => {
  let db: TestDatabase;
  let product: Product;
  let exposed: Exposed;
  let text: string;

  const scrape = async (): Promise<string> => (await fetch(`${product.server.url}/metrics`)).text();
  const receive = (name: string, authorization = product.webhook.authorization) => {
    const id = `${MARK}-${name}`;
    const nowMs = Date.now();
    return fetch(product.webhook.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: authorization },
      body: JSON.stringify({
        event: eventBody({
          id: `event-${id}`,
          app_user_id: id,
          original_app_user_id: id,
          aliases: [id],
          product_id: `${MARK}_monthly`,
          transaction_id: `${MARK}-t-${name}`,
          original_transaction_id: `${MARK}-t-${name}`,
          event_timestamp_ms: nowMs - DAY_MS,
          purchased_at_ms: nowMs - DAY_MS,
          expiration_at_ms: nowMs + 29 * DAY_MS,
          subscriber_attributes: { $email: { value: `${id}@mail.example`, updated_at_ms: 1 } },
        }),
      }),
    });
  };
  const addContact = (name: string) =>
    product.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: `${MARK}-${name}`,
      email: `${MARK}-${name}@mail.example`,
    });
  const counted = (pattern: RegExp) =>
    until(async () => pattern.test(await scrape()), `/metrics to say ${pattern.source}`);

  before(async () => {
    db = await createTestDatabase();
    // Not really a replica, as the app finds out; the metrics about a replica are exposed anyway.
    product = await createProduct({ db, environment: { DATABASE_READ_URL: db.url } });
    const contact = addContact('delivered');
    // RevenueCat has no subscription for this customer, so its response disagrees with the event.
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: `${MARK}-delivered` });
    assert.equal((await receive('delivered')).status, 200);
    assert.equal((await receive('delivered')).status, 200);
    assert.equal((await receive('delivered', 'wrong')).status, 401);
    await counted(/deliveries_total\{outcome="delivered",code="ok"\} [1-9]/);
    await counted(/disagreements_total\{code="status"\} [1-9]/);

    product.intercom.faults.add({ pathPrefix: '/events', status: 429, times: 1 });
    addContact('limited');
    await receive('limited');
    await counted(/deliveries_total\{outcome="retried",code="intercom_rate_limited"\} [1-9]/);
    product.intercom.faults.clear();
    product.intercom.faults.add({ pathPrefix: '/events', status: 422 });
    addContact('refused');
    await receive('refused');
    await counted(/deliveries_total\{outcome="failed",code="intercom_rejected"\} [1-9]/);
    await receive('nobody');
    const conversation = product.intercom.addConversation(WORKSPACE_ID, {
      contactIds: [contact.id],
      body: '<p>Hello</p>',
    });
    await product.card({
      flow: 'initialize',
      adminId: '7001',
      conversationId: conversation.id,
      contactId: contact.id,
    });
    for (const path of [`/support/${MARK}`, `/${MARK}?e=${MARK}@mail.example`, `/settings/${MARK}`])
      await fetch(`${product.server.url}${path}`, { redirect: 'manual' });
    await until(async () => {
      const [row] = await db.database.query<{ n: number }>(
        `select count(*)::int as n from ${EVENT_STATES} where workspace_id = $1 and reason = 'waiting_for_contact'`,
        [WORKSPACE_ID],
      );
      return row?.n === 1;
    }, 'an event to wait for its contact');
    // The gauges of another process, which has not read anything yet, so they show the current state.
    const beside = new Registry();
    addGauges(beside, db.database);
    text = `${await scrape()}\n${await beside.metrics()}`;
    exposed = readExposition(text);
  });
  after(async () => {
    await product?.close();
  });

  function findMissing(expression: string): string[] {
    const problems: string[] = [];
    const selectors = selectorsOf(expression);
    if (selectors.length === 0) problems.push(`names no metric of ours: ${expression}`);
    const labelsOf = (metric: string) =>
      new Set((exposed.get(metric) ?? []).flatMap((labels) => Object.keys(labels)));
    for (const { metric, matchers } of selectors) {
      // Prometheus' own metric: whether the scrape succeeded.
      if (metric === 'up') continue;
      const series = exposed.get(metric) ?? [];
      if (series.length === 0) problems.push(`${metric} is not exposed`);
      for (const { label, operator, value } of matchers) {
        if (ADDED.has(label)) continue;
        if (!labelsOf(metric).has(label)) problems.push(`${metric} has no label ${label}`);
        const isClassOfStatus = label === 'status' && /^([1-5]xx|aborted)(\|([1-5]xx|aborted))*$/.test(value);
        if (operator === '=' && !isClassOfStatus && !series.some((labels) => labels[label] === value))
          problems.push(`${metric} has no ${label} "${value}"`);
      }
    }
    for (const label of groupedBy(expression)) {
      if (ADDED.has(label)) continue;
      if (!selectors.some(({ metric }) => labelsOf(metric).has(label)))
        problems.push(`groups by ${label}, which no metric of it has: ${expression}`);
    }
    return problems;
  }

  test('every metric and label of the dashboard is exposed by the running app', async () => {
    const panels = await readDashboard();
    const expressions = panels.flatMap((panel) => (panel.targets ?? []).map((target) => target.expr));
    assert.ok(expressions.length > 30);
    assert.deepEqual(expressions.flatMap(findMissing), []);
  });

  test('every metric and label of the alerts is exposed, and each alert says what to do', async () => {
    const alerts = await readAlerts();
    assert.ok(alerts.length >= 20);
    assert.deepEqual(
      alerts.flatMap(({ expression }) => findMissing(expression)),
      [],
    );
    for (const { name, todo, severity } of alerts) {
      assert.ok(todo.length > 60, `${name} does not say what to do`);
      assert.match(severity, /^(page|ticket)$/, name);
    }
    assert.equal(new Set(alerts.map(({ name }) => name)).size, alerts.length);
  });

  test('every metric of ours is on the dashboard', async () => {
    const panels = await readDashboard();
    const shown = panels
      .flatMap((panel) => panel.targets ?? [])
      .flatMap(({ expr }) =>
        selectorsOf(expr).map(({ metric }) => metric.replace(/_(bucket|count|sum)$/, '')),
      );
    const ours = [...exposed.keys()].filter((name) => /^subscription_timeline_/.test(name));
    const hidden = ours
      .map((name) => name.replace(/_(bucket|count|sum)$/, ''))
      .filter((name) => !shown.includes(name));
    assert.deepEqual([...new Set(hidden)], []);
  });

  test('panels have unique ids and places, and use the data source variable', async () => {
    const panels = await readDashboard();
    assert.equal(new Set(panels.map((panel) => panel.id)).size, panels.length);
    const taken = new Map<string, string>();
    for (const { title, type, gridPos, datasource, targets } of panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          assert.equal(taken.get(`${x},${y}`), undefined, `${title} lies on ${taken.get(`${x},${y}`)}`);
          taken.set(`${x},${y}`, title);
        }
      }
      if (type === 'row') continue;
      for (const source of [datasource, ...(targets ?? []).map((target) => target.datasource)])
        assert.equal(source?.uid, DATA_SOURCE, title);
    }
  });

  test('labels hold codes: nothing of a customer, of a workspace or of an address', () => {
    assert.doesNotMatch(text, new RegExp(`${MARK}|mail\\.example|${WORKSPACE_ID}|${REVENUECAT_PROJECT_ID}`));
    const names = new Set<string>();
    for (const [metric, series] of exposed) {
      for (const labels of series) {
        for (const [name, value] of Object.entries(labels)) {
          assert.match(value, /^[\w.+/:-]{1,40}$/, `${name}="${value}"`);
          // Node's own labels depend on what the process has done: `kind` only appears after a garbage collection.
          if (!/^(nodejs|process)_/.test(metric)) names.add(name);
        }
      }
    }
    assert.deepEqual([...names].sort(), ['area', 'code', 'le', 'outcome', 'queue', 'state', 'status']);
  });

  test('a database that hangs does not hold back other metrics', async () => {
    const registry = new Registry();
    addGauges(registry, db.database);
    await db.database.transaction(async (sql) => {
      await sql.query('lock table workspaces in access exclusive mode');
      const told = readExposition(await registry.metrics());
      assert.deepEqual(told.get('subscription_timeline_workspaces'), []);
      assert.equal(
        told.get('subscription_timeline_delivery_lag_seconds')?.length,
        0,
        'it reads the workspaces too',
      );
      assert.equal(told.get('subscription_timeline_events_failed')?.length, 1);
      assert.equal(told.get('subscription_timeline_database_up')?.length, 1);
      assert.ok((told.get('subscription_timeline_jobs_waiting')?.length ?? 0) > 5);
    });
  });
});
