import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { createHttpClient } from '../../src/http/client.ts';

/** A server that takes the first bytes of a connection and closes it. */
async function listen(): Promise<{ port: number; received: Promise<Buffer> }> {
  const server = net.createServer();
  const received = once(server, 'connection').then(async ([socket]) => {
    const [bytes] = await once(socket, 'data');
    socket.destroy();
    server.close();
    return bytes;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as net.AddressInfo).port, received };
}

test('calls are offered over HTTP/1.1 only: each has a connection of its own, which fails alone', async () => {
  const { port, received } = await listen();
  const call = createHttpClient().get(`https://127.0.0.1:${port}/`);
  await assert.rejects(call);
  const hello = await received;
  // The protocol names in TLS's first message (ALPN), each after its length.
  assert.ok(hello.includes('\x08http/1.1'));
  assert.ok(!hello.includes('\x02h2'));
});

test('an address is not given up before a platform on another continent can answer', async (t) => {
  const { port } = await listen();
  const connect = t.mock.method(net, 'connect');
  await assert.rejects(createHttpClient().get(`http://127.0.0.1:${port}/`));
  const options = connect.mock.calls[0]?.arguments[0] as unknown as net.TcpNetConnectOpts;
  assert.ok((options.autoSelectFamilyAttemptTimeout ?? 0) >= 1_000);
});

test('a call that took too long to connect fails in time, and is not sent once it is connected', async (t) => {
  const paths: (string | undefined)[] = [];
  const server = http.createServer((req, res) => {
    paths.push(req.url);
    res.end('{}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const socket = new net.Socket();
  t.mock.method(net, 'connect', () => socket, { times: 1 });
  const client = createHttpClient({ baseURL: `http://127.0.0.1:${port}`, timeout: 50 });
  await assert.rejects(client.get('/late'), { code: 'ETIMEDOUT' });
  socket.connect(port, '127.0.0.1');
  await once(server, 'connection');
  await client.get('/next', { timeout: 10_000 });
  assert.deepEqual(paths, ['/next']);
});
