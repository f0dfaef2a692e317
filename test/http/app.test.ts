import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import Module from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import express, { type RequestHandler, Router } from 'express';
import { Registry } from 'prom-client';
import supertest from 'supertest';
import { AppError, badRequest, codeOf, unauthorized } from '../../src/errors.ts';
import { createApp } from '../../src/http/app.ts';
import { jsonBody } from '../../src/http/body.ts';
import { errorHandler } from '../../src/http/errors.ts';
import { observeRequests } from '../../src/http/metrics.ts';
import { operatorRouter } from '../../src/http/operator.ts';
import { limitRequests } from '../../src/http/rate-limit.ts';
import { openHttpServer } from '../../src/http/server.ts';
import { createLogger } from '../../src/logger.ts';
import { publicRouter } from '../../src/settings/public.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';
import type { Sessions } from '../../src/workspaces/sessions.ts';
import { until } from '../support/wait.ts';

/** The app with these routes, and the lines that it logs. */
function appOf(routes: Readonly<Record<string, RequestHandler[]>>, level: 'debug' | 'info' = 'info') {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line));
  const app = createApp({
    logger: createLogger(level, { write }),
    production: true,
    intercomAppUrl: 'https://app.intercom.com',
    platformRoutes: Object.entries(routes).map(([path, handlers]) => ({ path, handlers })),
    otherRoutes: [],
  });
  return { app, lines };
}

const answer: RequestHandler = (req, res) => void res.json({ body: req.body });

describe('a body', () => {
  test('may be as large as its limit, and no larger, whether its length is announced or not', async () => {
    const { app } = appOf({ '/take': [jsonBody(100), answer] });
    for (const [length, status] of [
      [100, 200],
      [101, 413],
    ] as const) {
      const body = JSON.stringify('x'.repeat(length - 2));
      await supertest(app).post('/take').type('json').send(body).expect(status);
      const chunked = supertest(app).post('/take').type('json').set('Transfer-Encoding', 'chunked');
      chunked.write(body);
      await chunked.expect(status);
    }
  });

  test('keeps every character that PostgreSQL can hold, and replaces the others', async () => {
    const { app } = appOf({ '/take': [jsonBody(1_000), answer] });
    for (const [sent, read] of [
      ['"\\ud83d\\ude00"', '😀'],
      ['"\\uD83D\\uDE00"', '😀'],
      ['"a\\ud83d"', 'a\ufffd'],
      ['"\\ude00b"', '\ufffdb'],
      ['"a\\u0000b"', 'a\ufffdb'],
      ['"\\\\u0000 \\\\ud83d"', '\\u0000 \\ud83d'],
    ]) {
      const { body } = await supertest(app).post('/take').type('json').send(sent).expect(200);
      assert.deepEqual(body, { body: read }, sent);
    }
  });

  test('whose sender disconnects ends the work on the request', async (t) => {
    const ended = Promise.withResolvers<unknown>();
    const app = express();
    const disconnect: RequestHandler = (_req, _res, next) => {
      next();
      socket.destroy();
    };
    app.post('/take', disconnect, jsonBody(1_000), answer);
    app.use(((error, _req, _res, _next) => ended.resolve(error)) as express.ErrorRequestHandler);
    const { url, close } = await listenOnLoopback(app);
    t.after(close);
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    const head = 'POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100';
    socket.write(`${head}\r\n\r\n{"a":`);
    assert.equal(codeOf(await ended.promise), 'bad_request');
  });
});

describe('a request of a platform', () => {
  const refuse: RequestHandler = () => {
    throw unauthorized('Wrong signature');
  };
  for (const [level, answered] of [
    ['info', 0],
    ['debug', 1],
  ] as const)
    test(`has one log line when it fails, and ${answered} for success, with the level ${level}`, async () => {
      const { app, lines } = appOf({ '/good': [answer], '/bad': [refuse] }, level);
      await supertest(app).post('/good').expect(200);
      await supertest(app).post('/bad').expect(401);
      assert.deepEqual(
        ['/good', '/bad'].map((path) => lines.filter((line) => line.path === path).length),
        [answered, 1],
      );
    });

  test('is told when to try again, and not what serves it', async () => {
    const busy: RequestHandler = () => {
      throw new AppError('overloaded', 'Too many');
    };
    const { app, lines } = appOf({ '/busy': [busy] });
    const { headers } = await supertest(app).post('/busy').expect(503);
    assert.ok(Number(headers['retry-after']) > 0);
    assert.equal(headers['x-powered-by'], undefined);
    assert.ok(
      lines.every(({ level }) => level !== 'error'),
      'it is no fault of the app',
    );
  });

  test('is logged with the workspace that it names, and with nothing else that was sent', async () => {
    const { app, lines } = appOf({ '/bad': [jsonBody(1_000), refuse] });
    for (const workspace_id of ['abc123', 'erin@example.com'])
      await supertest(app).post('/bad').send({ workspace_id }).expect(401);
    assert.deepEqual(
      lines.map(({ workspaceId }) => workspaceId),
      ['abc123', undefined],
    );
  });

  test('with an address that cannot be decoded is malformed', async () => {
    const router = Router();
    router.get('/:id', answer);
    await supertest(appOf({ '/of': [router] }).app)
      .get('/of/%zz')
      .expect(400);
  });
});

test('requests are limited by their address, which only a trusted proxy may name', async () => {
  for (const [trustedProxies, ofAnother] of [
    [['loopback'], 200],
    [[], 429],
  ] as const) {
    const app = createApp({
      logger: createLogger('fatal', { write() {} }),
      production: true,
      intercomAppUrl: 'https://app.intercom.com',
      trustedProxies,
      platformRoutes: [{ path: '/limited', handlers: [limitRequests(2), answer] }],
      otherRoutes: [],
    });
    const from = (address: string) => supertest(app).get('/limited').set('X-Forwarded-For', address);
    await from('203.0.113.1').expect(200);
    await from('203.0.113.1').expect(200);
    await from('203.0.113.1').expect(429);
    await from('203.0.113.2').expect(ofAnother);
  }
});

test('an outage of the database is one line, however many requests it fails', async () => {
  const fail: RequestHandler = () => {
    throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
  };
  const { app, lines } = appOf({ '/fail': [fail] });
  for (let count = 0; count < 5; count += 1) await supertest(app).post('/fail').expect(503);
  assert.equal(lines.filter(({ level }) => level === 'error').length, 1);
});

test('the style sheet is found below a folder whose name begins with a dot', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), '.hidden-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'pico.css'), 'main {}');
  const loader = Module as unknown as { _resolveFilename(name: string, ...rest: unknown[]): string };
  const resolve = loader._resolveFilename.bind(Module);
  t.mock.method(loader, '_resolveFilename', (name: string, ...rest: unknown[]) =>
    name.startsWith('@picocss/') ? join(folder, 'pico.css') : resolve(name, ...rest),
  );
  const sessions = { requireSession: answer, requireCsrf: answer } as unknown as Sessions;
  const { text } = await supertest(express().use(publicRouter(sessions)))
    .get('/assets/pico.css')
    .expect(200);
  assert.equal(text, 'main {}');
});

test('a page of an error shows what was sent as text', async () => {
  const refuse: RequestHandler = (req) => {
    throw badRequest(`Invalid name ${req.query.name}`);
  };
  const { text } = await supertest(appOf({ '/page': [refuse] }).app)
    .get('/page')
    .query({ name: '<script>' })
    .accept('html')
    .expect(400);
  assert.match(text, /Invalid name &lt;script&gt;\./);
  assert.doesNotMatch(text, /<script/);
});

test('requests are counted by area and outcome, in seconds and without probes', async (t) => {
  const registry = new Registry();
  const app = express();
  app.use(observeRequests(registry));
  app.get('/settings/hang', (req) => req.socket.destroy());
  app.use((_req, res) => void res.json({}));
  const { url, close } = await listenOnLoopback(app);
  t.after(close);
  const startedAtMs = performance.now();
  for (const path of ['/healthz', '/readyz', '/metrics', '/settings/events', '/settings'])
    await (await fetch(`${url}${path}`)).text();
  await assert.rejects(fetch(`${url}/settings/hang`));
  const counted = async () =>
    [...(await registry.metrics()).matchAll(/_http_seconds_count\{(.*)\} (\d+)/g)].map(([, of, n]) => [
      of,
      n,
    ]);
  await until(async () => (await counted()).length === 2, 'all to be counted');
  assert.deepEqual(await counted(), [
    ['area="settings",status="2xx"', '2'],
    ['area="settings",status="aborted"', '1'],
  ]);
  const [, sum] =
    /_http_seconds_sum\{area="settings",status="2xx"\} (\S+)/.exec(await registry.metrics()) ?? [];
  assert.ok(Number(sum) > 0 && Number(sum) < (performance.now() - startedAtMs) / 1_000, `${sum} s`);
});

describe('what an operator asks', () => {
  const router = (changes: Partial<Parameters<typeof operatorRouter>[0]>) => {
    const common = { registry: new Registry(), metricsToken: null, production: false };
    const state = { isDraining: () => false, isReadOnly: async () => false };
    const app = express();
    app.use(operatorRouter({ ...common, ...state, ...changes }));
    app.use(errorHandler(createLogger('fatal', { write() {} })));
    return supertest(app);
  };

  test('whether it can serve: not while it stops, and only what reads while nothing can be written', async () => {
    await router({}).get('/readyz').expect(200, { status: 'ready' });
    await router({ isReadOnly: async () => true })
      .get('/readyz')
      .expect(200, { status: 'read-only' });
    await router({ isDraining: () => true })
      .get('/readyz')
      .expect(503, { status: 'stopping' });
    const isHanging = () => new Promise<boolean>(() => {});
    const answer = await router({ isReadOnly: isHanging }).get('/readyz').timeout(3_000);
    assert.equal(answer.status, 503, 'the database does not answer');
    assert.ok(answer.headers['retry-after']);
  });

  test('metrics: with the token where one is set, and none without one in production', async () => {
    const get = (changes: Partial<Parameters<typeof operatorRouter>[0]>, token: string) =>
      router(changes).get('/metrics').set('Authorization', `Bearer ${token}`);
    await get({}, 'any').expect(200);
    await get({ production: true }, 'any').expect(401);
    for (const production of [true, false]) {
      await get({ production, metricsToken: 'right' }, 'wrong').expect(401);
      await get({ production, metricsToken: 'right' }, 'right').expect(200);
    }
  });
});

test('while it stops, every request is answered and closes its connection', async () => {
  const server = await openHttpServer({ port: 0, host: '127.0.0.1' });
  const app = express();
  const begun = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  app.use(server.track);
  app.get('/slow', async (_req, res) => {
    begun.resolve();
    await finish.promise;
    res.json({});
  });
  app.get('/quick', answer);
  await server.serve(app);
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    await response.text();
    // Google's load balancer keeps connections open for 600 s.
    if (!server.isDraining()) assert.equal(response.headers.get('keep-alive'), 'timeout=620');
    return response.headers.get('connection');
  };
  assert.equal(await get('/quick'), 'keep-alive');
  const slow = get('/slow');
  await begun.promise;
  const stopped = server.stop(500);
  assert.equal(await get('/quick'), 'close');
  finish.resolve();
  assert.equal(await slow, 'close');
  await stopped;
  await assert.rejects(get('/quick'));
});
