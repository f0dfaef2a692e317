import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import express, { type RequestHandler } from 'express';
import supertest from 'supertest';
import { AppError, codeOf, unauthorized } from '../../src/errors.ts';
import { createApp } from '../../src/http/app.ts';
import { jsonBody } from '../../src/http/body.ts';
import { createLogger } from '../../src/logger.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';

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
    app.post('/take', jsonBody(1_000), answer);
    app.use(((error, _req, _res, _next) => ended.resolve(error)) as express.ErrorRequestHandler);
    const { url, close } = await listenOnLoopback(app);
    t.after(close);
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    const head = 'POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100';
    socket.write(`${head}\r\n\r\n{"a":`, () => setTimeout(() => socket.destroy(), 50));
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
    const { headers } = await supertest(appOf({ '/busy': [busy] }).app)
      .post('/busy')
      .expect(503);
    assert.ok(Number(headers['retry-after']) > 0);
    assert.equal(headers['x-powered-by'], undefined);
  });
});
