import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { AxiosError } from 'axios';
import { type Config, readConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/database/data-source.ts';
import type { CheckResult } from '../../src/doctor/check.ts';
import { diagnose } from '../../src/doctor/command.ts';
import { PROJECT_CHECKS } from '../../src/doctor/project-checks.ts';
import { checkOutside, type DoctorContext, runDoctor } from '../../src/doctor/run.ts';
import { readSettings } from '../../src/doctor/settings-checks.ts';
import { createRefusalRecorder } from '../../src/ingestion/routes.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { type JobQueue, openJobs } from '../../src/jobs/jobs.ts';
import type { Listening } from '../../src/simulator/listen.ts';
import {
  createRevenueCatSimulator,
  type RevenueCatSimulator,
} from '../../src/simulator/revenuecat/server.ts';
import { webhookUrl } from '../../src/workspaces/project-connection.ts';
import { listProjects, type Project } from '../../src/workspaces/projects.ts';
import { clearRefusal, recordRefusal } from '../../src/workspaces/refusals.ts';
import { createSecretBox, secretLocation } from '../../src/workspaces/secrets.ts';
import { setDelivery } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { startCommand } from '../support/process.ts';
import { until } from '../support/wait.ts';
import {
  CLIENT_ID,
  CLIENT_SECRET,
  createWorld,
  logger,
  PROJECT_ID,
  WORKSPACE_ID,
  type World,
} from '../support/world.ts';

const RC_PROJECT = 'projdoctor1';
const PUBLIC_URL = 'https://app.example.com';
const KEY = randomBytes(32);
const healthy: { status: number; data: unknown; headers: Record<string, string> } = {
  status: 200,
  data: { status: 'ok' },
  headers: {},
};

describe('doctor', () => {
  let world: World;
  let revenueCat: RevenueCatSimulator;
  let revenueCatAt: Listening;
  let jobs: JobQueue;
  let config: Config;
  let environment: Record<string, string>;

  before(async () => {
    world = await createWorld();
    revenueCat = createRevenueCatSimulator();
    revenueCatAt = await revenueCat.listen();
    revenueCat.addProject({ id: RC_PROJECT, name: 'Test app' });
    revenueCat.state.limitsPerMinute.configuration = 10_000;
    const { database } = world.db;
    const box = createSecretBox([KEY]);
    const token = [...world.intercom.state.tokens.keys()][0] ?? '';
    await database.query(`update workspaces set access_token = $1`, [
      box.encrypt(token, secretLocation.accessToken(WORKSPACE_ID)),
    ]);
    await database.query(
      `update projects set revenuecat_project_id = $1, api_key = $2, api_key_state = 'valid', last_received_at = now(),
              created_at = now() - interval '30 days'`,
      [
        RC_PROJECT,
        box.encrypt(revenueCat.issueKey(RC_PROJECT), secretLocation.apiKey(WORKSPACE_ID, PROJECT_ID)),
      ],
    );
    revenueCat.addWebhook(RC_PROJECT, { url: `${PUBLIC_URL}/webhooks/revenuecat/${PROJECT_ID}` });
    jobs = await openJobs({ databaseUrl: world.db.url, backend: 'postgres', listen: false, logger });
    await jobs.register({ 'workspace.health': { workers: 'interactive', run: () => Promise.resolve() } });
    world.worker();
    environment = {
      PUBLIC_URL,
      NODE_ENV: 'production',
      DATABASE_URL: world.db.url,
      INTERCOM_CLIENT_ID: CLIENT_ID,
      INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
      INTERCOM_API_URL: world.intercomUrl,
      REVENUECAT_API_URL: revenueCatAt.url,
      ENCRYPTION_KEYS: KEY.toString('base64'),
    };
    const read = readConfig(environment);
    assert.ok(read.ok);
    config = read.config;
    await until(
      async () => (await check()).some(({ check, status }) => check === 'worker' && status === 'ok'),
      'the worker to connect',
    );
  });
  after(async () => {
    await jobs.stop();
    await world.close();
    await revenueCatAt.close();
  });

  const check = async (changes: Partial<DoctorContext> = {}): Promise<CheckResult[]> => {
    const { database } = world.db;
    const fixed = { config, database, keys: [KEY], workspaceId: null, now: Date.now };
    const results: CheckResult[] = [];
    await runDoctor({ ...fixed, requestUrl: async () => healthy, ...changes }, results);
    return results;
  };

  it('names the API version when it reads the clock of Intercom, and says nothing of one that is not sent', async () => {
    const versions: unknown[] = [];
    const server = createServer((req, res) => {
      versions.push(req.headers['intercom-version']);
      res.sendDate = false;
      res.end();
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const reached = { ...config, intercom: { ...config.intercom, apiUrl } };
    const results = await checkOutside({ config: reached, now: Date.now, requestUrl: async () => healthy });
    server.close();
    assert.deepEqual(versions, ['2.16']);
    assert.deepEqual(
      results.filter(({ check }) => check === 'clock').map(({ status }) => status),
      ['ok'],
    );
  });

  const failing = (results: readonly CheckResult[]) =>
    results.filter(({ status }) => status !== 'ok').map(({ check, status }) => `${check}: ${status}`);

  const sql = (text: string, values: readonly unknown[] = []) => world.db.database.query(text, values);

  it('finds nothing wrong in a healthy installation', async () => {
    const results = await check();
    assert.deepEqual(failing(results), []);
    const checks = new Set(results.map(({ check }) => check));
    for (const check of [
      'database',
      'migrations',
      'disk',
      'clock',
      'encryption_key',
      'worker',
      'jobs',
      'intercom_token',
      'attributes',
      'delivery_lag',
      'failed_deliveries',
      'retention',
      'projects',
      'revenuecat_key',
      'webhook_registered',
      'webhook_received',
    ])
      assert.ok(checks.has(check), check);
  });

  interface Fault {
    readonly name: string;
    readonly found: string;
    readonly remedy: RegExp;
    /** Breaks it, and returns the context with the fault and how to repair it. */
    make(): Promise<{ context?: Partial<DoctorContext>; repair?: () => unknown }>;
  }

  const faults: Fault[] = [
    {
      name: 'a migration that has not run',
      found: 'migrations: problem',
      remedy: /migrate/,
      async make() {
        const [row] = await sql(`delete from schema_migrations where name like 'Initial%' returning *`);
        return {
          repair: () =>
            sql(`insert into schema_migrations (timestamp, name) values ($1, $2)`, [
              (row as { timestamp: string }).timestamp,
              (row as { name: string }).name,
            ]),
        };
      },
    },
    {
      name: 'a database of a newer version',
      found: 'migrations: problem',
      remedy: /newer version/,
      async make() {
        await sql(
          `insert into schema_migrations (timestamp, name) values (1990000000001, 'Future1990000000001')`,
        );
        return { repair: () => sql(`delete from schema_migrations where name like 'Future%'`) };
      },
    },
    {
      name: 'a database on which no migration has run',
      found: 'migrations: problem',
      remedy: /migrate/,
      async make() {
        const url = new URL(world.db.url);
        url.pathname = '/postgres';
        const { database, close } = await openDatabase({ url: url.href, logger, poolSize: 1 });
        return { context: { database }, repair: close };
      },
    },
    {
      name: 'that the named workspace has uninstalled the app',
      found: 'workspaces: problem',
      remedy: /^Install the app at/,
      async make() {
        await sql(`update workspaces set status = 'uninstalled'`);
        return {
          context: { workspaceId: WORKSPACE_ID },
          repair: () => sql(`update workspaces set status = 'connected'`),
        };
      },
    },
    {
      name: 'another encryption key',
      found: 'encryption_key: problem',
      remedy: /ENCRYPTION_KEYS/,
      make: async () => ({ context: { keys: [randomBytes(32)] } }),
    },
    {
      name: 'a database whose disk is full',
      found: 'database: problem',
      remedy: /^The disk of the database is full: make room there/,
      async make() {
        const full = Object.assign(new Error('could not extend file "base/1/2": No space left on device'), {
          code: '53100',
        });
        const { database } = world.db;
        return { context: { database: { ...database, transaction: () => Promise.reject(full) } } };
      },
    },
    {
      name: 'a lost key of each secret',
      found: 'encryption_key: problem',
      remedy:
        /stores a new one\.\n.*save it again in Settings › Messenger and Fin\.\n.*give the list up, .*erasure_key = null where workspace_id = 'abc123'/,
      async make() {
        await sql(`update workspaces set messenger_secret = 'v1.lost.key', erasure_key = 'v1.lost.key'`);
        return {
          context: { keys: [randomBytes(32)] },
          repair: () => sql(`update workspaces set messenger_secret = null, erasure_key = null`),
        };
      },
    },
    {
      name: 'a clock that is five minutes ahead',
      found: 'clock: problem',
      remedy: /NTP/,
      make: async () => ({ context: { now: () => Date.now() + 300_000 } }),
    },
    {
      name: 'a token that Intercom rejects',
      found: 'intercom_token: problem',
      remedy: /install the app again at https:\/\/app\.example\.com\/install/,
      make: async () => ({ repair: world.intercom.faults.add({ token: 'revoked' }) }),
    },
    {
      name: 'a workspace that was disconnected before',
      found: 'intercom_token: problem',
      remedy: /install the app again/,
      async make() {
        await sql(`update workspaces set status = 'disconnected', status_reason = 'intercom_unauthorized'`);
        return { repair: () => sql(`update workspaces set status = 'connected', status_reason = null`) };
      },
    },
    {
      name: 'events that Intercom refuses because a permission is missing',
      found: 'intercom_refusal: problem',
      remedy: /^Install the app again/,
      async make() {
        const refusal = { work: 'events', code: 'intercom_scope_missing', message: 'write_events' } as const;
        await recordRefusal(world.db.database, WORKSPACE_ID, refusal);
        return { repair: () => clearRefusal(world.db.database, WORKSPACE_ID, 'events') };
      },
    },
    {
      name: 'a plan that has ended where attributes are listed',
      found: 'attributes: problem',
      remedy: /^The workspace's Intercom plan/,
      make: async () => ({
        repair: world.intercom.faults.add({ status: 402, pathPrefix: '/data_attributes' }),
      }),
    },
    {
      name: 'attributes that Intercom does not list for now',
      found: 'attributes: problem',
      remedy: /^Try again in a minute/,
      make: async () => ({
        repair: world.intercom.faults.add({ status: 503, pathPrefix: '/data_attributes' }),
      }),
    },
    {
      name: 'an archived contact attribute',
      found: 'attributes: problem',
      remedy: /Settings › Contacts/,
      async make() {
        const attributes = world.intercom.state.attributes;
        const at = attributes.findIndex(({ name }) => name === 'rc_product');
        const good = attributes[at];
        assert.ok(good);
        attributes[at] = { ...good, archived: true };
        return { repair: () => (attributes[at] = good) };
      },
    },
    {
      name: 'an attribute of another type',
      found: 'attributes: warning',
      remedy: /rename the attribute/,
      async make() {
        const attributes = world.intercom.state.attributes;
        const at = attributes.findIndex(({ name }) => name === 'expires_at');
        const good = attributes[at];
        assert.ok(good);
        attributes[at] = { ...good, dataType: 'string' };
        return { repair: () => (attributes[at] = good) };
      },
    },
    {
      name: 'an attribute that customers can write through the Messenger',
      found: 'attributes: warning',
      remedy: /closes these to the Messenger/,
      async make() {
        const attribute = world.intercom.state.attributes.find(({ name }) => name === 'subscription_status');
        assert.ok(attribute);
        attribute.messengerWritable = true;
        return { repair: () => (attribute.messengerWritable = false) };
      },
    },
    {
      name: 'an attribute with a list of options',
      found: 'attributes: warning',
      remedy: /rename the attribute/,
      async make() {
        const attributes = world.intercom.state.attributes;
        const at = attributes.findIndex(({ name }) => name === 'subscription_status');
        const good = attributes[at];
        assert.ok(good);
        attributes[at] = { ...good, dataType: 'options', options: ['active', 'expired'] };
        return { repair: () => (attributes[at] = good) };
      },
    },
    {
      name: 'a Messenger that does not enforce identity verification',
      found: 'identity_verification: warning',
      remedy: /Messenger › Security/,
      async make() {
        const workspace = world.intercom.state.workspaces.get(WORKSPACE_ID);
        assert.ok(workspace);
        workspace.identityVerification = false;
        return { repair: () => (workspace.identityVerification = true) };
      },
    },
    {
      name: 'a key that RevenueCat rejects',
      found: 'revenuecat_key: problem',
      remedy: /API keys\) and paste it at https:\/\/app\.example\.com\/settings\/revenuecat/,
      async make() {
        const [key] = [...revenueCat.state.keys.values()];
        assert.ok(key);
        key.status = 'revoked';
        return { repair: () => (key.status = 'valid') };
      },
    },
    {
      name: 'a key without a permission',
      found: 'revenuecat_scopes: problem',
      remedy: /Give the key these permissions/,
      async make() {
        const [[name, key] = []] = [...revenueCat.state.keys];
        assert.ok(name !== undefined && key);
        revenueCat.state.keys.set(name, { ...key, scopes: ['project_configuration:*:read_write'] });
        return { repair: () => revenueCat.state.keys.set(name, key) };
      },
    },
    {
      name: 'a webhook that was removed in RevenueCat',
      found: 'webhook_registered: problem',
      remedy: /^Choose New authorization value .* Integrations › Webhooks/,
      async make() {
        const webhooks = revenueCat.state.projects.get(RC_PROJECT)?.webhooks ?? [];
        const removed = webhooks.splice(0);
        await sql(`update projects set last_received_at = now() - interval '8 days'`);
        return {
          async repair() {
            webhooks.push(...removed);
            await sql(`update projects set last_received_at = now()`);
          },
        };
      },
    },
    {
      name: 'events that arrive without our webhook',
      found: 'webhook_registered: warning',
      remedy: /^If something of yours forwards them, nothing needs to be done/,
      async make() {
        const webhooks = revenueCat.state.projects.get(RC_PROJECT)?.webhooks ?? [];
        const removed = webhooks.splice(0);
        return { repair: () => webhooks.push(...removed) };
      },
    },
    {
      name: 'a webhook that leads to the address before',
      found: 'webhook_registered: problem',
      remedy: /change the webhook's address .* to https:\/\/app\.example\.com\/webhooks\/revenuecat\//,
      async make() {
        const webhooks = revenueCat.state.projects.get(RC_PROJECT)?.webhooks ?? [];
        const [good] = webhooks;
        assert.ok(good);
        webhooks[0] = { ...good, url: good.url.replace('app.example.com', 'old.example.com') };
        await sql(`update projects set last_received_at = now() - interval '8 days'`);
        return {
          async repair() {
            webhooks[0] = good;
            await sql(`update projects set last_received_at = now()`);
          },
        };
      },
    },
    {
      name: 'a public address without DNS',
      found: 'public_url: warning',
      remedy: /DNS/,
      make: async () => ({
        context: {
          requestUrl: async () => {
            throw new AxiosError('getaddrinfo ENOTFOUND', 'ENOTFOUND');
          },
        },
      }),
    },
    {
      name: 'a public address of something else',
      found: 'public_url: warning',
      remedy: /Correct PUBLIC_URL/,
      make: async () => ({ context: { requestUrl: async () => ({ ...healthy, data: '<html>' }) } }),
    },
    {
      name: 'a public address without HTTPS',
      found: 'public_url: warning',
      remedy: /with https:/,
      async make() {
        const webhooks = revenueCat.state.projects.get(RC_PROJECT)?.webhooks ?? [];
        const [good] = webhooks;
        assert.ok(good);
        webhooks[0] = { ...good, url: good.url.replace('https:', 'http:') };
        return {
          context: { config: { ...config, publicUrl: PUBLIC_URL.replace('https:', 'http:') } },
          repair: () => (webhooks[0] = good),
        };
      },
    },
    {
      name: 'a key whose rate limit is used up',
      found: 'revenuecat_api: warning',
      remedy: /in a minute/,
      async make() {
        await sql(
          `update revenuecat_budgets set hold_until_ms = extract(epoch from now()) * 1000 + 60000 where domain = 'configuration'`,
        );
        return { repair: () => sql('update revenuecat_budgets set hold_until_ms = 0') };
      },
    },
    {
      name: 'a webhook for production alone',
      found: 'webhook_registered: warning',
      remedy: /both environments/,
      async make() {
        const webhooks = revenueCat.state.projects.get(RC_PROJECT)?.webhooks ?? [];
        const [good] = webhooks;
        assert.ok(good);
        webhooks[0] = { ...good, environment: 'production' };
        return { repair: () => (webhooks[0] = good) };
      },
    },
    {
      name: 'a webhook that never came',
      found: 'webhook_received: problem',
      remedy: /Send test event/,
      async make() {
        await sql(`update projects set last_received_at = null`);
        return { repair: () => sql(`update projects set last_received_at = now()`) };
      },
    },
    {
      name: 'webhooks with another authorization value',
      found: 'webhook_refused: problem',
      remedy: /choose New authorization value .* enter the new value there/,
      async make() {
        const recordRefusal = createRefusalRecorder({ database: world.db.database, jobs, now: Date.now });
        await recordRefusal({ workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, 'authorization');
        return { repair: () => sql(`update projects set last_refused_at = null, refused_for = null`) };
      },
    },
    {
      name: 'a key that may not read purchases',
      found: 'revenuecat_scopes: problem',
      remedy: /Give the key these permissions/,
      async make() {
        const [[name, key] = []] = [...revenueCat.state.keys];
        assert.ok(name !== undefined && key);
        revenueCat.state.keys.set(name, {
          ...key,
          scopes: [
            'project_configuration:*:read_write',
            'customer_information:customers:read',
            'customer_information:subscriptions:read',
          ],
        });
        return { repair: () => revenueCat.state.keys.set(name, key) };
      },
    },
    {
      name: 'a webhook that stopped sending',
      found: 'webhook_received: warning',
      remedy: /Send test event/,
      async make() {
        await sql(`update projects set last_received_at = now() - interval '9 days'`);
        return { repair: () => sql(`update projects set last_received_at = now()`) };
      },
    },
    {
      name: 'a workspace without a project',
      found: 'projects: problem',
      remedy: /connect --workspace abc123/,
      async make() {
        await sql(
          `update projects set webhook_auth_hash = 'kept' || webhook_auth_hash where webhook_auth_hash <> ''`,
        );
        const [row] = await sql(`select webhook_auth_hash as hash from projects`);
        await sql(`update projects set webhook_auth_hash = ''`);
        return {
          repair: () => sql(`update projects set webhook_auth_hash = $1`, [(row as { hash: string }).hash]),
        };
      },
    },
    {
      name: 'late deliveries',
      found: 'delivery_lag: problem',
      remedy: /See that a worker runs/,
      async make() {
        // The second one is claimed by a worker that hangs.
        await sql(
          `insert into subscribers (workspace_id, project_id, subscriber_id, due_at, lease_until)
           values ($1, $2, gen_random_uuid(), now(), null),
                  ($1, $2, gen_random_uuid(), now() - interval '10 minutes', now() + interval '1 hour')`,
          [WORKSPACE_ID, PROJECT_ID],
        );
        return { repair: () => sql(`delete from subscribers`) };
      },
    },
    {
      name: 'a contact whose attributes Intercom refuses',
      found: 'rejected_contacts: problem',
      remedy: /shows the attributes and Intercom's response/,
      async make() {
        await sql(
          `with rejected as (
             insert into subscribers (workspace_id, project_id, subscriber_id, contact_id, due_at, attempts, pending_reason)
             values ($1, $2, gen_random_uuid(), 'contact-1', now() + interval '1 day', 1, 'intercom_rejected')
             returning subscriber_id)
           insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
           select $1, $2, 'rejected-user', subscriber_id from rejected`,
          [WORKSPACE_ID, PROJECT_ID],
        );
        return {
          async repair() {
            await sql('delete from subscriber_ids');
            await sql('delete from subscribers');
          },
        };
      },
    },
    {
      name: 'a failed delivery',
      found: 'failed_deliveries: problem',
      remedy: /replay --workspace abc123 --failed/,
      async make() {
        const body = eventBody();
        await sql(`update workspaces set not_before = now() + interval '1 hour'`);
        await storeEvents(world.db.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, [
          prepareEvent(body, Date.now()),
        ]);
        await setDelivery(world.db.database, WORKSPACE_ID, String(body.id), {
          delivery: 'failed',
          reason: 'intercom_event_limit',
        });
        await sql(`update subscribers set due_at = null`);
        return {
          async repair() {
            await sql('delete from event_deliveries');
            await sql('delete from events');
            await sql('delete from subscriber_ids');
            await sql('delete from subscribers');
            await sql(`update workspaces set not_before = null`);
          },
        };
      },
    },
    {
      name: 'webhooks that could not be interpreted',
      found: 'failed_webhooks: problem',
      remedy: /reinterpret --workspace abc123/,
      async make() {
        await sql(
          `insert into webhooks (workspace_id, project_id, event_id, payload, processed_at, error)
           values ($1, $2, 'odd', '{}', now(), 'out of range')`,
          [WORKSPACE_ID, PROJECT_ID],
        );
        return { repair: () => sql('delete from webhooks') };
      },
    },
    {
      name: 'webhooks that the daily job does not delete',
      found: 'retention: warning',
      remedy: /journal\.prune/,
      async make() {
        await sql(
          `insert into webhooks (workspace_id, project_id, event_id, payload, received_at, processed_at)
           values ($1, $2, 'old', '{}', now() - interval '200 days', now())`,
          [WORKSPACE_ID, PROJECT_ID],
        );
        return { repair: () => sql('delete from webhooks') };
      },
    },
    {
      name: 'late jobs',
      found: 'jobs: problem',
      remedy: /See that a worker runs/,
      async make() {
        await jobs.send('workspace.health', { workspaceId: WORKSPACE_ID });
        await sql(`update pgboss.job set start_after = now() - interval '1 hour'`);
        return { repair: () => sql('delete from pgboss.job') };
      },
    },
    {
      name: 'a RevenueCat that is unreachable',
      found: 'reachable: problem',
      remedy: /firewall, proxy and DNS/,
      make: async () => ({ context: { config: { ...config, revenueCatApiUrl: 'http://127.0.0.1:9' } } }),
    },
  ];

  for (const fault of faults) {
    it(`finds ${fault.name}, and says what to do`, async () => {
      // Dozens of checks in a minute would have to wait for the key's rate limit.
      await sql('update revenuecat_budgets set tokens = per_minute');
      const { context, repair } = await fault.make();
      try {
        const results = await check(context);
        assert.ok(
          failing(results).includes(fault.found),
          `found ${failing(results).join(', ') || 'nothing'}`,
        );
        const remedies = results
          .filter(({ check, status }) => `${check}: ${status}` === fault.found)
          .map(({ remedy }) => remedy);
        assert.match(remedies.join('\n'), fault.remedy);
      } finally {
        await repair?.();
      }
      assert.deepEqual(failing(await check()), [], 'nothing is found after the repair');
    });
  }

  it('finds nothing wrong in what passes, or what nothing needs', async () => {
    const [[name, key] = []] = [...revenueCat.state.keys];
    assert.ok(name !== undefined && key);
    // All but the permission to list and register webhooks.
    const scopes = ['projects:read', 'entitlements:read', 'products:read'].map(
      (of) => `project_configuration:${of}`,
    );
    revenueCat.state.keys.set(name, { ...key, scopes: [...scopes, 'customer_information:*:read_write'] });
    await sql(`update workspaces set not_before = now() + interval '1 hour'`);
    await sql(
      `insert into subscribers (workspace_id, project_id, subscriber_id, due_at)
       values ($1, $2, gen_random_uuid(), now() - interval '10 minutes')`,
      [WORKSPACE_ID, PROJECT_ID],
    );
    await sql(
      `insert into webhooks (workspace_id, project_id, event_id, payload, received_at, processed_at)
       values ($1, $2, 'old', '{}', now() - interval '182 days', now())`,
      [WORKSPACE_ID, PROJECT_ID],
    );
    await sql('update revenuecat_budgets set tokens = per_minute');
    try {
      assert.deepEqual(failing(await check()), []);
    } finally {
      revenueCat.state.keys.set(name, key);
      await sql('delete from webhooks');
      await sql('delete from subscribers');
      await sql('update workspaces set not_before = null');
    }
  });

  it('does not send the operator to a worker for what waits until the app is installed again', async () => {
    await sql(`update workspaces set status = 'disconnected', status_reason = 'intercom_unauthorized'`);
    await sql(
      `insert into subscribers (workspace_id, project_id, subscriber_id, due_at)
       values ($1, $2, gen_random_uuid(), now() - interval '10 minutes')`,
      [WORKSPACE_ID, PROJECT_ID],
    );
    try {
      assert.deepEqual(failing(await check()), ['intercom_token: problem']);
    } finally {
      await sql('delete from subscribers');
      await sql(`update workspaces set status = 'connected', status_reason = null`);
    }
  });

  it('distinguishes what was never there from what has stopped, and what is there from what leads here', async () => {
    const nowMs = Date.now();
    const [project] = await listProjects(world.db.database, WORKSPACE_ID);
    assert.ok(project);
    const config = { publicUrl: 'https://app.example.com' };
    const statusOf = async (
      check: 'webhook_received' | 'webhook_registered',
      changes: Partial<Project>,
      webhooks: readonly object[] = [],
    ) => {
      const subject = {
        project: { ...project, ...changes },
        revenueCat: { state: 'accepted', missingScopes: [], webhooks },
        config,
        nowMs,
      };
      const outcome = await PROJECT_CHECKS[check]?.(subject as never);
      return outcome && 'status' in outcome ? outcome.status : null;
    };
    const created = { lastReceivedAt: null, createdAt: new Date(nowMs) };
    assert.equal(await statusOf('webhook_received', created), 'warning', 'the first day');
    const refusedWebhook = { at: new Date(nowMs), refusedFor: 'authorization' } as const;
    assert.equal(
      await statusOf('webhook_received', { ...created, refusedWebhook }),
      null,
      'they are refused',
    );
    const url = webhookUrl(config.publicUrl, project.projectId);
    const whole = { url, environment: null, event_types: null, app_id: null };
    const received = { lastReceivedAt: new Date(nowMs) };
    assert.equal(await statusOf('webhook_registered', received, [whole]), 'ok');
    for (const part of [{ event_types: ['renewal'] }, { app_id: 'app1' }])
      assert.equal(await statusOf('webhook_registered', received, [{ ...whole, ...part }]), 'warning');
    const moved = { ...whole, url: url.replace('app.', 'old.') };
    assert.equal(
      await statusOf('webhook_registered', received, [moved]),
      'warning',
      'something forwards them',
    );
  });

  it('asks to add the missing key, not to install again, where the token does not open', async () => {
    const results = await check({ keys: [randomBytes(32)] });
    const found = results.find(({ check }) => check === 'intercom_token');
    assert.match(found?.remedy ?? '', /^Add the key that encrypted it to ENCRYPTION_KEYS/);
  });

  it('checks the rest where the encryption keys are wrong', () => {
    assert.equal(
      readSettings({ ...environment, ENCRYPTION_KEYS: 'wrong' }).config?.databaseUrl,
      world.db.url,
    );
  });

  it('never shows the placeholder for a wrong public address', async () => {
    const { config: shown } = readSettings({ ...environment, PUBLIC_URL: 'wrong' });
    assert.ok(shown);
    const results = await check({ config: shown });
    assert.deepEqual(failing(results), ['webhook_registered: warning']);
    assert.ok(!JSON.stringify(results).includes('localhost'));
  });

  it('asks Intercom for the other workspaces where it rejects the token of some', async () => {
    for (let index = 0; index < 6; index += 1) {
      const id = `aaa${index}`;
      const token = createSecretBox([KEY]).encrypt('revoked', secretLocation.accessToken(id));
      await sql(`insert into workspaces (workspace_id, name, access_token) values ($1, 'First', $2)`, [
        id,
        token,
      ]);
    }
    const results = await check();
    await sql(`delete from workspaces where workspace_id like 'aaa%'`);
    const tokens = results.filter(({ check }) => check === 'intercom_token');
    assert.deepEqual(
      tokens.map(({ status }) => status),
      [...Array(6).fill('problem'), 'ok'],
    );
  });

  it('expects no production settings of a server that is tried on this machine', async () => {
    const tried = { ...config, publicUrl: 'http://localhost:3000', production: false };
    assert.ok(!failing(await check({ config: tried })).includes('production: warning'));
    const served = { ...config, production: false };
    assert.ok(failing(await check({ config: served })).includes('production: warning'));
  });

  it('asks a platform that hangs once, not for each workspace', async () => {
    for (let index = 0; index < 12; index += 1) {
      await sql(
        `insert into workspaces (workspace_id, name, access_token, status)
         select 'more' || $1, 'More', access_token, 'disconnected' from workspaces where workspace_id = $2`,
        [index, WORKSPACE_ID],
      );
    }
    const clear = [
      world.intercom.faults.add({ hangS: 60, pathPrefix: '/me' }),
      revenueCat.faults.add({ hangS: 60, pathPrefix: '/v2' }),
    ];
    try {
      const begunMs = performance.now();
      const found = failing(await check());
      assert.ok(performance.now() - begunMs < 30_000);
      assert.ok(found.includes('intercom_api: problem') && found.includes('revenuecat_api: problem'));
    } finally {
      for (const each of clear) each();
      await sql(`delete from workspaces where workspace_id like 'more%'`);
    }
  });

  it('shows no secret and no customer, whatever it finds', async () => {
    const [key] = [...revenueCat.state.keys.keys()];
    const [token] = [...world.intercom.state.tokens.keys()];
    assert.ok(key && token);
    const text = JSON.stringify(await check({ keys: [] })) + JSON.stringify(await check());
    for (const secret of [key, token, KEY.toString('base64')]) assert.ok(!text.includes(secret));
  });

  describe('what it finds before the database is open', () => {
    const diagnosed = async (changes: Record<string, string>): Promise<CheckResult[]> => {
      const results: CheckResult[] = [];
      await diagnose({ ...environment, ...changes }, null, results);
      return results;
    };
    const of = (results: readonly CheckResult[], name: string) => results.find(({ check }) => check === name);

    const causes: readonly [string, RegExp, (url: URL) => void][] = [
      [
        'an unknown host',
        /^No such host: correct the host in DATABASE_URL/,
        (url) => (url.hostname = 'nowhere.invalid'),
      ],
      [
        'a wrong password',
        /^PostgreSQL refuses the user/,
        // The tests' own user needs no password.
        (url) => Object.assign(url, { username: 'someone', password: 'wrong' }),
      ],
      ['a database that is not there', /createdb/, (url) => (url.pathname = '/nowhere')],
      [
        'an unavailable database',
        /^Nothing listens there: start PostgreSQL/,
        (url) => Object.assign(url, { port: '9', password: 's3cret' }),
      ],
    ];
    for (const [name, remedy, change] of causes) {
      it(`says what helps against ${name}, and checks what needs no database`, async () => {
        const url = new URL(world.db.url);
        change(url);
        const results = await diagnosed({ DATABASE_URL: url.href });
        assert.equal(of(results, 'database')?.status, 'problem');
        assert.match(of(results, 'database')?.remedy ?? '', remedy);
        assert.ok(of(results, 'clock') && of(results, 'disk'));
        assert.ok(!JSON.stringify(results).includes('s3cret'));
      });
    }

    it('reports a database that is read-only, such as a standby in place of the primary', async () => {
      const results = await diagnosed({
        DATABASE_URL: `${world.db.url}?options=-c%20default_transaction_read_only%3Don`,
      });
      const found = of(results, 'database');
      assert.equal(found?.status, 'problem');
      assert.match(found?.message ?? '', /read-only/);
      assert.match(found?.remedy ?? '', /primary/);
    });

    it('checks the replica', async () => {
      const results = await diagnosed({
        DATABASE_READ_URL: 'postgres://postgres:s3cret@127.0.0.1:9/none',
      });
      assert.deepEqual(
        results.filter(({ status }) => status === 'problem'),
        [],
      );
      const { message, remedy } = of(results, 'replica') ?? {};
      assert.match(message ?? '', /Cards are read from the primary/);
      assert.match(remedy ?? '', /correct host and port in DATABASE_READ_URL/);
    });

    it('says that DATA_DIR is not a folder', async () => {
      const results = await diagnosed({
        DATABASE_URL: '',
        ENCRYPTION_KEYS: '',
        NODE_ENV: '',
        DATA_DIR: import.meta.filename,
      });
      assert.equal(results.at(-1)?.status, 'problem');
      assert.match(results.at(-1)?.message ?? '', /^DATA_DIR, .*, is not a folder\.$/);
    });
  });

  describe('the command', () => {
    const doctor = (env: Record<string, string>, ...args: string[]) =>
      startCommand(['doctor', ...args], { ...environment, ...env }).ended;

    it('exits with 0 when everything works, and prints JSON for machines', async () => {
      const { code, stdout, stderr } = await doctor({}, '--json');
      assert.equal(code, 0, `${stderr}${stdout}`);
      const printed = JSON.parse(stdout) as { ok: boolean; problems: number; results: CheckResult[] };
      assert.deepEqual([printed.ok, printed.problems], [true, 0]);
      assert.ok(printed.results.length > 10);
    });

    it('names wrong settings and checks the rest; exits with 1', async () => {
      const { code, stdout } = await doctor({
        INTERCOM_CLIENT_SECRET: '',
        PORT: 'http',
        HTTPS_PROXY: '127.0.0.1:3128',
      });
      assert.equal(code, 1);
      assert.match(stdout, /PROBLEM {2}INTERCOM_CLIENT_SECRET is required/);
      assert.match(stdout, /PROBLEM {2}PORT must be a port number/);
      assert.match(stdout, /What to do: Correct PORT/);
      assert.match(stdout, /PROBLEM {2}HTTPS_PROXY must be an address with its scheme/);
      assert.match(stdout, /Workspace abc123\n/);
    });

    it('prints no escape sequence and no line break of a name that a workspace or RevenueCat chose', async () => {
      const { database } = world.db;
      const [project] = await database.query<{ name: string }>('select name from projects');
      try {
        await database.query('update projects set name = $1', [
          'Café\u001b[2J\u009b1m\u202e\n  ok        All is well',
        ]);
        const { stdout } = await doctor({});
        assert.match(stdout, /RevenueCat accepts the API key of Café\[2J1m ok All is well\.\n/);
      } finally {
        await database.query('update projects set name = $1', [project?.name]);
      }
    });

    it('times out when the database hangs, with the results so far', async () => {
      const locked = Promise.withResolvers<void>();
      const held = Promise.withResolvers<void>();
      const holding = world.db.database.transaction(async (sql) => {
        await sql.query('lock table projects in access exclusive mode');
        locked.resolve();
        await held.promise;
      });
      await locked.promise;
      try {
        const { code, stdout } = await doctor({}, '--json');
        assert.equal(code, 1);
        const { results } = JSON.parse(stdout) as { results: CheckResult[] };
        assert.deepEqual([results[0]?.check, results.at(-1)?.check], ['settings', 'stalled']);
      } finally {
        held.resolve();
        await holding;
      }
    });
  });
});
