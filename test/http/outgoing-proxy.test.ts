import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import express from 'express';
import { listenOnLoopback } from '../../src/simulator/listen.ts';

test('calls go through the proxy of the environment, but not to the hosts that it leaves out', async (t) => {
  const seen: string[] = [];
  /** Serves as Intercom and as a proxy. A request to a proxy has the whole URL in its first line. */
  const listen = async () => {
    const app = express();
    app.use((req, res) => {
      seen.push(req.originalUrl);
      res.json({ id: 1, app: { id_code: 'abc123' } });
    });
    const { url, close } = await listenOnLoopback(app);
    t.after(close);
    return url;
  };
  const [intercom, proxy] = [await listen(), await listen()];
  // In another process, because the environment is read when a process starts.
  const client = JSON.stringify(import.meta.resolve('../../src/intercom/client.ts'));
  const script = `
    const { createIntercomClient } = await import(${client});
    for (const apiUrl of ['http://intercom.invalid', ${JSON.stringify(intercom)}])
      await createIntercomClient({ apiUrl, accessToken: 'token' }).me();
    process.exit();`;
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    // Lowercase names take precedence.
    env: {
      ...process.env,
      http_proxy: proxy,
      HTTP_PROXY: proxy,
      no_proxy: '127.0.0.1',
      NO_PROXY: '127.0.0.1',
    },
  });
  assert.deepEqual(seen, ['http://intercom.invalid/me', '/me']);
});
