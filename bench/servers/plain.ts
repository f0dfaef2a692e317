import { createHmac, timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import express from 'express';
import pg from 'pg';
import { PgBoss } from 'pg-boss';

/**
 * The baselines that the app is measured against: the same requests and answers, written in the obvious way.
 * BASELINE is `insert` (one INSERT per request into the app's own journal; nothing is queued), `nothing` (no database),
 * `pg-boss` (one job per request) or `card` (a signature verified, a constant returned).
 */
const { BASELINE, DATABASE_URL = '', AUTHORIZATION = '', SECRET = '', CANVAS = '{}' } = process.env;

const app = express();
app.disable('x-powered-by');
app.set('etag', false);

function isAuthorized(header: string | undefined): boolean {
  const given = Buffer.from(header ?? '');
  const wanted = Buffer.from(AUTHORIZATION);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

interface Body {
  readonly event: { readonly id: string };
}

async function receiver(): Promise<(body: Body) => Promise<void>> {
  if (BASELINE === 'insert') {
    const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 20 });
    return async (body) => {
      await pool.query({
        name: 'insert',
        text: `insert into webhooks (workspace_id, project_id, event_id, payload) values ('naive', 'naive-p1', $1, $2)
               on conflict do nothing`,
        values: [body.event.id, JSON.stringify(body)],
      });
    };
  }
  if (BASELINE === 'pg-boss') {
    const boss = new PgBoss({ connectionString: DATABASE_URL, schema: 'naive_boss', max: 20 });
    boss.on('error', () => {});
    await boss.start();
    await boss.createQueue('events');
    return async (body) => {
      await boss.send('events', body);
    };
  }
  return async () => {};
}

if (BASELINE === 'card') {
  const canvas = JSON.parse(CANVAS) as unknown;
  app.post('/canvas/inbox/initialize', express.raw({ type: 'application/json' }), (req, res) => {
    const expected = createHmac('sha256', SECRET)
      .update(req.body as Buffer)
      .digest();
    const given = Buffer.from(req.get('x-body-signature') ?? '', 'hex');
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      return void res.sendStatus(401);
    JSON.parse((req.body as Buffer).toString());
    res.json(canvas);
  });
} else {
  const receive = await receiver();
  app.post('/webhooks/revenuecat/:projectId', express.json({ limit: '1mb' }), async (req, res) => {
    if (!isAuthorized(req.get('authorization'))) return void res.sendStatus(401);
    await receive(req.body);
    res.json({ status: 'accepted' });
  });
}

const server = app.listen(0, () => {
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ msg: 'listening', port })}\n`);
});
process.on('SIGTERM', () => process.exit(0));
