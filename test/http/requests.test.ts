import assert from 'node:assert/strict';
import { request } from 'node:http';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createLogger } from '../../src/logger.ts';
import { signBody } from '../../src/simulator/intercom/app-caller.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, WORKSPACE_ID } from '../support/world.ts';

const MIB = 1024 * 1024;
const CARD = '/canvas/inbox/initialize';

describe('requests', () => {
  let product: Product;
  let output = '';
  const lines = (): Record<string, unknown>[] =>
    output
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));

  before(async () => {
    product = await createProduct({
      logger: createLogger('debug', {
        write(text: string) {
          output += text;
        },
      }),
      environment: {
        NODE_ENV: 'production',
        PUBLIC_URL: 'https://app.test',
        METRICS_TOKEN: 'metrics-token',
      },
    });
  });
  after(() => product?.close());

  const post = (path: string, body: string, headers: Record<string, string> = {}) =>
    fetch(`${product.server.url}${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body,
    });
  const signed = (body: string) => ({ 'X-Body-Signature': signBody(CLIENT_SECRET, body) });
  const wrong = { 'X-Body-Signature': '0'.repeat(64) };
  const card = (fields: object = {}) => JSON.stringify({ workspace_id: WORKSPACE_ID, ...fields });

  /** Sends bytes and reads until the server closes the connection. */
  function exchange(bytes: string): Promise<string> {
    const socket = connect(Number(new URL(product.server.url).port), '127.0.0.1');
    let response = '';
    socket.on('data', (chunk) => {
      response += String(chunk);
    });
    socket.write(bytes);
    return new Promise((resolve, reject) => {
      socket.once('close', () => resolve(response));
      socket.once('error', reject);
    });
  }

  /** Sends the head, and `sent` bytes of a body that has `declared` bytes according to the head. */
  function sendPart(declared: number, sent: number, headers: Record<string, string>) {
    const call = request(`${product.server.url}${CARD}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': String(declared), ...headers },
    });
    const status = new Promise<number>((resolve, reject) => {
      call.on('response', (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      call.on('error', reject);
    });
    status.catch(() => {});
    call.write(Buffer.alloc(sent, 'x'));
    return { call, status };
  }

  test('a body without a valid signature is never parsed', async () => {
    // 1 MiB that took 720 ms to parse with a reviver.
    const body = `{"z":"\\u0000","k":[${'1,'.repeat(MIB / 2)}1]}`;
    await post(CARD, body, wrong);
    const startedMs = process.cpuUsage();
    for (let count = 0; count < 10; count += 1) assert.equal((await post(CARD, body, wrong)).status, 401);
    const { user } = process.cpuUsage(startedMs);
    assert.ok(user / 1_000 / 10 < 120, `${Math.round(user / 10_000)} ms for each`);
  });

  test('without a signature the body is not even read', async () => {
    const { status, call } = sendPart(5 * MIB, 10, {});
    assert.equal(await status, 401);
    call.destroy();
  });

  test('a large body to a route that takes none is not read', async () => {
    const head = `Host: x\r\nContent-Length: ${20 * MIB}\r\n\r\n`;
    const starts = [
      'GET /healthz',
      'GET /signin',
      'POST /signout',
      'POST /settings/contacts',
      'POST /nowhere',
    ];
    const requests = [
      ...starts.map((start) => `${start} HTTP/1.1\r\n${head}x`),
      'GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n',
    ];
    const answers = await Promise.all(requests.map(exchange));
    for (const [index, answer] of answers.entries())
      assert.match(answer, /^HTTP\/1\.1 413 .*connection: close/is, requests[index]);
    const endless = 'POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n';
    assert.match(await exchange(endless), /^HTTP\/1\.1 404 .*connection: close/is);
  });

  test('a list of customers to grant to may be larger than other forms', async () => {
    const send = (bytes: number) =>
      post('/settings/grants/many', 'x'.repeat(bytes), {
        'Content-Type': 'application/x-www-form-urlencoded',
      });
    assert.equal((await send(7 * MIB)).status, 401);
    const refused = await send(9 * MIB);
    assert.equal(refused.status, 413);
    assert.match(await refused.text(), /More than 8 MiB was sent/);
  });

  test('an invented address adds no time series', async () => {
    for (const path of ['/webhooks/invented', '/canvas/invented', '/intercom/invented'])
      await fetch(`${product.server.url}${path}`);
    const answer = await fetch(`${product.server.url}/metrics`, {
      headers: { Authorization: 'Bearer metrics-token' },
    });
    const metrics = await answer.text();
    assert.match(metrics, /area="other"/);
    assert.doesNotMatch(metrics, /invented/);
  });

  test('a card of 9 MiB is answered, and one above 10 MiB is refused before it is read', async () => {
    const large = card({ conversation: { parts: 'x'.repeat(9 * MIB) } });
    assert.equal((await post(CARD, large, signed(large))).status, 200);
    const { status, call } = sendPart(10 * MIB + 1, 10, wrong);
    assert.equal(await status, 413);
    call.destroy();
  });

  test('NUL in a signed body is not an error', async () => {
    const body = card({ contact: { id: 'c1', external_id: 'a\u0000b', name: 'back\\u0000slash' } });
    assert.ok(body.includes('\\u0000'));
    assert.equal((await post(CARD, body, signed(body))).status, 200);
  });

  test('bodies together have a limit; small ones are still answered', async () => {
    const held = Array.from({ length: 5 }, () => sendPart(9 * MIB, 8 * MIB, wrong));
    const refused = await Promise.any(held.map(async ({ status }) => status));
    assert.equal(refused, 503);
    const small = card();
    assert.equal((await post(CARD, small, signed(small))).status, 200);
    for (const { call } of held) call.destroy();
    const large = card({ conversation: { parts: 'x'.repeat(MIB) } });
    await until(
      async () => (await post(CARD, large, signed(large))).status === 200,
      'the memory to be free again',
    );
  });

  test('a client that disconnects is logged at debug, without an error', async () => {
    const socket = connect(Number(new URL(product.server.url).port), '127.0.0.1');
    const head = `POST ${CARD} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n`;
    const headers = `X-Request-Id: request-aborted-1\r\nX-Body-Signature: ${'0'.repeat(64)}\r\n\r\n{"a":`;
    socket.write(head + headers, () => socket.destroy());
    const line = await until(
      () => lines().find(({ requestId, aborted }) => requestId === 'request-aborted-1' && aborted === true),
      'the line',
    );
    assert.equal(line.level, 'debug');
    assert.deepEqual(
      lines().filter(({ level, requestId }) => level === 'error' && requestId === 'request-aborted-1'),
      [],
    );
  });

  test('metrics need the token in production, whatever the spelling of the address', async () => {
    for (const path of ['/metrics', '/Metrics', '/METRICS', '/metrics/', '//metrics', '/metrics?x=1']) {
      const answer = await fetch(`${product.server.url}${path}`);
      assert.ok([401, 404].includes(answer.status), `${path}: ${answer.status}`);
    }
  });

  test('every response has security headers', async () => {
    const body = card();
    const answers = await Promise.all([
      fetch(`${product.server.url}/healthz`),
      fetch(`${product.server.url}/nowhere`),
      fetch(`${product.server.url}/signin`),
      post(CARD, body, signed(body)),
      post(CARD, body, wrong),
      post(new URL(product.webhook.url).pathname, '{}'),
      post('/webhooks/intercom', '{}'),
      post('/api/messenger/token', '{}'),
    ]);
    for (const answer of answers) {
      assert.equal(answer.headers.get('x-content-type-options'), 'nosniff', answer.url);
      assert.match(answer.headers.get('content-security-policy') ?? '', /default-src 'none'/, answer.url);
      assert.match(answer.headers.get('strict-transport-security') ?? '', /max-age=31536000/, answer.url);
    }
  });

  test('also when no route sends them: a request that cannot be parsed, and one with too many headers', async () => {
    const responses = await Promise.all([
      exchange('NONSENSE\r\n\r\n'),
      exchange(`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(64 * 1024)}\r\n\r\n`),
    ]);
    assert.match(responses[0] ?? '', /^HTTP\/1\.1 400 /);
    assert.match(responses[1] ?? '', /^HTTP\/1\.1 431 /);
    for (const response of responses) {
      assert.match(response, /X-Content-Type-Options: nosniff/);
      assert.match(response, /Content-Security-Policy: default-src 'none'/);
    }
  });

  test('no spelling of an address passes a rule', async () => {
    const paths = [
      '/metrics',
      '/settings',
      '/settings/audit',
      '/settings/data/export',
      CARD,
      '/canvas/inbox/submit',
      '/canvas/messenger/live',
      new URL(product.webhook.url).pathname,
      '/webhooks/intercom',
      '/intercom/health',
      '/api/messenger/token',
      '/api/fin/subscription',
    ];
    const spellings: readonly ((path: string) => string)[] = [
      (path) => path,
      (path) => `${path}/`,
      (path) => `/${path}`,
      (path) => path.toUpperCase(),
      (path) => path.replace(/.$/, (last) => last.toUpperCase()),
      (path) => `/%2F${path.slice(1)}`,
      (path) => `/.${path}`,
      (path) => `/x/..${path}`,
      (path) => `${path}%2F`,
      (path) => `${path};a=b`,
      (path) => `${path}%00`,
      (path) => path.replace(/^\/(.)/, (_found, first: string) => `/%${first.charCodeAt(0).toString(16)}`),
    ];
    for (const path of paths) {
      for (const spell of spellings) {
        for (const method of ['GET', 'POST']) {
          const spelled = spell(path);
          const head = `${method} ${spelled} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n`;
          const response = await exchange(
            `${head}Accept: text/html\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
          );
          const status = Number(/^HTTP\/1\.1 (\d+)/.exec(response)?.[1]);
          const isSignIn = /^Location: \/signin/im.test(response);
          // Uppercase must not work: a proxy may have a rule for the lowercase path only.
          if (spelled === path.toUpperCase()) assert.ok([400, 404].includes(status), `${spelled}: ${status}`);
          assert.ok(
            [400, 401, 403, 404, 405].includes(status) || ([302, 303].includes(status) && isSignIn),
            `${method} ${spelled}: ${status}`,
          );
        }
      }
    }
  });

  test('a method that a signed route does not have is an unknown route', async () => {
    for (const path of ['/intercom/health', CARD, '/canvas/messenger/live'])
      for (const method of ['GET', 'PUT', 'DELETE', 'OPTIONS'])
        assert.equal(
          (await fetch(`${product.server.url}${path}`, { method })).status,
          404,
          `${method} ${path}`,
        );
    for (const path of [CARD, '/nowhere']) {
      const page = await fetch(`${product.server.url}${path}`, { headers: { Accept: 'text/html' } });
      assert.match(await page.text(), /<h1>Page not found<\/h1><p>Check the address\.<\/p>/, path);
    }
  });

  test('HOST limits where the server listens', async () => {
    const local = await createProduct({ bare: true, environment: { HOST: '127.0.0.1' } });
    try {
      const { port } = new URL(local.server.url);
      const outcome = (address: string) =>
        new Promise<string>((resolve) => {
          const socket = connect(Number(port), address);
          socket.once('connect', () => {
            socket.destroy();
            resolve('connected');
          });
          socket.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
        });
      assert.equal(await outcome('127.0.0.1'), 'connected');
      assert.equal(await outcome('127.0.0.2'), 'ECONNREFUSED');
    } finally {
      await local.close();
    }
  });
});
