import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Balancer {
  readonly url: string;
  /** Sets the addresses behind it. One whose `/readyz` was not 200 twice in a row gets no requests. */
  use(addresses: readonly string[]): void;
  isHealthy(address: string): boolean;
  close(): Promise<void>;
}

function isHealthy({ failures }: Upstream): boolean {
  return failures < MAX_FAILURES;
}

interface Upstream {
  readonly address: string;
  readonly agent: Agent;
  /** How many checks in a row were not answered with 200. */
  failures: number;
  isChecking: boolean;
}

const CHECK_MS = 100;
/** A usual value: one check that fails on a busy machine does not take a process out. */
const MAX_FAILURES = 2;

/**
 * A load balancer for several processes, as strict as common ones: it keeps connections open, checks `/readyz` ten
 * times a second, and tries the next process only when a connection is refused. A request that was sent and not
 * answered is a 502.
 */
export async function startBalancer(): Promise<Balancer> {
  let upstreams: Upstream[] = [];
  let turn = 0;

  function forward(req: IncomingMessage, res: ServerResponse, body: Buffer, left: Upstream[]): void {
    const [upstream, ...others] = left;
    if (!upstream) {
      res.writeHead(503).end();
      return;
    }
    const { host: _host, connection: _connection, ...headers } = req.headers;
    const sent = request(
      `${upstream.address}${req.url}`,
      { method: req.method, headers, agent: upstream.agent },
      (answer) => {
        const { connection: _mine, 'keep-alive': _keep, ...given } = answer.headers;
        res.writeHead(answer.statusCode ?? 502, given);
        answer.on('error', () => res.destroy());
        answer.pipe(res);
      },
    );
    sent.on('error', (error: NodeJS.ErrnoException) => {
      if (res.headersSent) return void res.destroy();
      if (error.code === 'ECONNREFUSED') return forward(req, res, body, others);
      res.writeHead(502).end(error.code);
    });
    sent.end(body);
  }

  // Never closes an idle connection, because its client may be just about to use it again.
  const server = createServer({ keepAliveTimeout: 0 }, (req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const healthy = upstreams.filter(isHealthy);
      turn += 1;
      const first = turn % Math.max(1, healthy.length);
      forward(req, res, Buffer.concat(chunks), [...healthy.slice(first), ...healthy.slice(0, first)]);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const check = setInterval(() => {
    for (const upstream of upstreams) {
      if (upstream.isChecking) continue;
      upstream.isChecking = true;
      const end = (isReady: boolean): void => {
        upstream.isChecking = false;
        upstream.failures = isReady ? 0 : upstream.failures + 1;
      };
      const probe = request(`${upstream.address}/readyz`, { agent: false }, (answer) => {
        end(answer.statusCode === 200);
        answer.resume();
      });
      probe.on('error', () => end(false));
      probe.end();
    }
  }, CHECK_MS);

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    use(addresses) {
      const known = new Map(upstreams.map((upstream) => [upstream.address, upstream]));
      upstreams = addresses.map(
        (address) =>
          known.get(address) ?? {
            address,
            agent: new Agent({ keepAlive: true }),
            failures: MAX_FAILURES,
            isChecking: false,
          },
      );
    },
    isHealthy: (address) => upstreams.some((each) => each.address === address && isHealthy(each)),
    async close() {
      clearInterval(check);
      for (const upstream of upstreams) upstream.agent.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
