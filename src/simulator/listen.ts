import { randomInt } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Express } from 'express';
import { codeOf } from '../errors.ts';

export interface Listening {
  /** Origin without a trailing slash, such as `http://127.0.0.1:4010`. */
  readonly url: string;
  close(): Promise<void>;
}

/** As long as load balancers do: with Node's 5 s a busy client could send on a connection that is being closed. */
const KEEP_ALIVE_MS = 60_000;

/** Serves an app on loopback only: the simulators have no access control. @param port 0 for any free port */
export async function listenOnLoopback(app: Express, port = 0): Promise<Listening> {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, app);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const { port: actual } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${actual}`,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()));
        // Neither idle keep-alive connections nor requests that a fault makes hang may delay closing.
        server.closeAllConnections();
      }),
  };
}

/** A free port below those that systems give to outgoing connections, which could take the port before it is used. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const port = randomInt(20_000, 32_000);
  return new Promise((resolve, reject) => {
    server.once('error', (error) => (codeOf(error) === 'EADDRINUSE' ? resolve(freePort()) : reject(error)));
    server.listen(port, () => server.close(() => resolve(port)));
  });
}
