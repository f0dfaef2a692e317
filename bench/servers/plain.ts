import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import express from 'express';
import pg from 'pg';
import { PgBoss } from 'pg-boss';

/**
 * What the app is measured against: the same requests and answers, written the way one would at first.
 * BASELINE is `insert` (one INSERT a request into the app's own table of events; nothing is queued), `nothing` (no database), `pg-boss` (one job a request) or `card`
 * (a signature checked, a constant answered).
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
  readonly event: {
    readonly id: string;
    readonly type: string;
    readonly app_user_id: string;
    readonly environment: string;
    readonly event_timestamp_ms: number;
    readonly transaction_id: string;
  };
}

/** Stands for finding out whose event it is, which a plain handler would leave to later. */
function subscriberOf(appUserId: string): string {
  return createHash('md5').update(appUserId).digest('hex');
}

async function receiver(): Promise<(body: Body) => Promise<void>> {
  if (BASELINE === 'insert') {
    const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 20 });
    return async (body) => {
      const { event } = body;
      await pool.query({
        name: 'insert',
        text: `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, environment,
                                   event_at_ms, transaction_id, payload)
               values ('naive', 'naive-p1', $1, $2, $3, 'renewal', $4, $5, $6, $7) on conflict do nothing`,
        values: [
          event.id,
          subscriberOf(event.app_user_id),
          event.type,
          event.environment.toLowerCase(),
          event.event_timestamp_ms,
          event.transaction_id,
          JSON.stringify(body),
        ],
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
