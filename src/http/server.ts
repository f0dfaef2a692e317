import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type ListenOptions, type Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import type { RequestHandler, Response } from 'express';
import { AppError, codeOf } from '../errors.ts';

/**
 * Longer than a proxy keeps an idle connection, ms: the proxy closes it first, so no request is lost. Google's load
 * balancer keeps it for 600 s. An idle connection costs 14 KiB and does not delay a stop.
 */
const KEEP_ALIVE_MS = 620_000;
/** A request must arrive completely within this time, ms, and its headers sooner. */
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
/** How often both are checked; Node's default is 30 s, ms. */
const TIMEOUT_CHECK_MS = 2_000;
/** Requests that are still open this long after the port was closed are cut off, ms. */
const MAX_DRAIN_MS = 10_000;

/**
 * In a turn of the event loop, libuv (1.52) accepts one connection per listening socket. With one socket, a flood of
 * new connections keeps legitimate ones waiting for minutes, although each request is cheap. So several sockets share
 * the port where the system allows it.
 */
const LISTENERS = process.platform === 'linux' ? 16 : 1;

interface Address {
  readonly port: number;
  readonly host: string | null;
}

export type HttpServer = Awaited<ReturnType<typeof openHttpServer>>;

export const SECURITY_HEADERS = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
};

const PARSER_STATUS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** Sends Node's response to a request that it cannot parse or that takes too long, with the security headers. */
function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const headers = Object.entries({ ...SECURITY_HEADERS, Connection: 'close', 'Content-Length': '0' });
  const status = PARSER_STATUS[error.code ?? ''] ?? '400 Bad Request';
  socket.end(
    `HTTP/1.1 ${status}\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`,
    () => socket.destroy(),
  );
}

/**
 * Tries the port before anything else starts, so that a port in use ends the start. With `PORT=0` the port stays open
 * from now on, because its number is part of the public URL.
 *
 * @throws AppError when the port cannot be used: a person must choose another one
 */
export async function openHttpServer(address: Address) {
  tuneRuntime();
  let answer: RequestListener = (_req, res) => void res.writeHead(503, { 'Retry-After': '1' }).end();
  const server = createServer(
    {
      keepAliveTimeout: KEEP_ALIVE_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    },
    (req, res) => answer(req, res),
  );
  server.on('clientError', refuseUnparsed);
  const others = Array.from({ length: LISTENERS - 1 }, () =>
    createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) => server.emit('connection', socket)),
  );
  const listeners: readonly Server[] = [server, ...others];
  const port = await tryPort(address);
  const openPort = async (): Promise<void> => {
    for (const each of listeners) await listen(each, { ...address, port }, { reusePort: LISTENERS > 1 });
  };
  if (address.port === 0) await openPort();
  const open = new Set<Response>();
  let isDraining = false;
  /** Mounted before all routes. */
  const track: RequestHandler = (_req, res, next) => {
    if (isDraining) res.setHeader('Connection', 'close');
    open.add(res);
    res.once('close', () => open.delete(res));
    next();
  };

  return {
    port,
    /** Before this call connections are refused, so that a proxy uses another process; with `PORT=0` they get 503. */
    async serve(app: RequestListener): Promise<void> {
      answer = app;
      if (server.listening) return;
      await tryPort(address);
      await openPort();
    },
    track,
    isDraining: () => isDraining,
    /**
     * Stops without a failed request. First `/readyz` says that it is stopping, requests are still answered, and every
     * response closes its connection (`Connection: close`), so that a load balancer chooses another process; then the
     * port is closed; then open requests finish.
     *
     * @param noticeMs how long requests are still answered, so that the load balancer can notice
     */
    async stop(noticeMs: number): Promise<void> {
      isDraining = true;
      for (const res of open) if (!res.headersSent) res.setHeader('Connection', 'close');
      if (noticeMs > 0) await new Promise((resolve) => setTimeout(resolve, noticeMs));
      const closed = listeners.map((each) => new Promise((done) => each.close(done)));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), MAX_DRAIN_MS);
      await Promise.all(closed);
      clearTimeout(timer);
    },
  };
}

/** With `reusePort`, a socket can listen on a port that another process uses. Only a socket without it fails there. */
async function tryPort(address: Address): Promise<number> {
  const probe = createTcpServer();
  await listen(probe, address);
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

function listen(server: Server, address: Address, options: ListenOptions = {}): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (error: Error): void => reject(explainListenError(error, address));
  const host = address.host === null ? {} : { host: address.host };
  server.once('error', fail);
  server.listen({ ...options, port: address.port, ...host }, () => {
    server.off('error', fail);
    resolve();
  });
  return promise;
}

function explainListenError(error: Error, { port, host }: Address): Error {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: `PORT ${port} cannot be used: another process listens there. Set PORT to another one.`,
    EACCES: `PORT ${port} cannot be used: this user may not listen there. Set PORT to another one.`,
    EADDRNOTAVAIL: `HOST ${host} is not an address of this machine. Correct or remove HOST.`,
    ENOTFOUND: `HOST ${host} is not known. Correct or remove HOST.`,
  };
  const reason = reasons[codeOf(error) ?? ''];
  return reason === undefined ? error : new AppError('conflict', reason, { cause: error });
}

/**
 * Keeps V8 from allocating short-lived objects in the old generation. While many requests wait for the database, small
 * objects of parsing survive a young collection by chance. From then on V8 allocates such objects in the old
 * generation, whose collections are expensive, and never stops doing so.
 * Measured while receiving webhooks: 119 µs of processor time each with V8's default, 54 µs with this flag.
 */
function tuneRuntime(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
  // Collects the old generation when it has grown by 60 %, instead of letting it double. With a small
  // young generation (`--max-semi-space-size=8`) receiving peaks at 198 MiB of resident memory; with neither at 343 MiB.
  setFlagsFromString('--heap-growing-percent=60');
}
