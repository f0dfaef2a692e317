import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { migrate, openDatabase } from '../../src/database/data-source.ts';

/** The coordinator's URL when the suite runs on a Citus cluster (`npm run test:citus`), else `null`. */
export const CITUS_URL = process.env.TEST_CITUS_URL || null;

const SHARDS = 4;

/**
 * Creates a database on each node of the cluster, with the schema distributed over the nodes. The URL's own database
 * must have the extension and list the worker nodes.
 */
export async function createCitusDatabase(name: string): Promise<string> {
  const admin = new URL(CITUS_URL ?? '');
  const nodes = await run(admin, (client) => listNodes(client));
  for (const node of nodes) {
    await run(at(admin, node, 'postgres'), (client) => client.query(`create database ${name}`));
    await run(at(admin, node, name), (client) => client.query('create extension citus'));
  }
  const url = at(admin, { host: admin.hostname, port: Number(admin.port) }, name);
  await run(url, async (client) => {
    await client.query(`select citus_set_coordinator_host($1, $2)`, [admin.hostname, Number(admin.port)]);
    for (const { host, port } of nodes) {
      if (port !== Number(admin.port)) await client.query(`select citus_add_node($1, $2)`, [host, port]);
    }
  });
  const open = await openDatabase({ url: url.href, logger: pino({ level: 'silent' }) });
  await migrate(open.dataSource);
  await open.close();
  const distribute = await readFile(join(import.meta.dirname, '../../ops/citus.sql'), 'utf8');
  await run(url, (client) =>
    client.query(distribute.replace(/shard_count => \d+/, `shard_count => ${SHARDS}`)),
  );
  return url.href;
}

export async function dropCitusDatabase(name: string): Promise<void> {
  const admin = new URL(CITUS_URL ?? '');
  for (const node of await run(admin, (client) => listNodes(client)))
    await run(at(admin, node, 'postgres'), (client) =>
      client.query(`drop database if exists ${name} with (force)`),
    );
}

interface Node {
  readonly host: string;
  readonly port: number;
}

async function listNodes(client: pg.Client): Promise<Node[]> {
  const { rows } = await client.query<{ nodename: string; nodeport: number }>(
    'select nodename, nodeport from pg_dist_node order by groupid',
  );
  return rows.map((row) => ({ host: row.nodename, port: row.nodeport }));
}

function at(admin: URL, node: Node, database: string): URL {
  const url = new URL(admin);
  url.hostname = node.host;
  url.port = String(node.port);
  url.pathname = `/${database}`;
  return url;
}

async function run<T>(url: URL, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
