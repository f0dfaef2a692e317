import { randomInt } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import pg from 'pg';
import type { Pooler } from './pooled.ts';

/** A server connection that is lent for one transaction. */
interface Server {
  readonly client: pg.Client;
  readonly stream: Socket;
  borrower: Borrower | null;
}

interface Borrower {
  readonly socket: Socket;
  server: Server | null;
  /** Messages that wait for a server connection. */
  readonly waiting: Buffer[];
  /** How many responses are still to come: each Query or Sync brings one ReadyForQuery. */
  outstanding: number;
}

const QUERY = 0x51;
const SYNC = 0x53;
const TERMINATE = 0x58;
const READY = 0x5a;
const IDLE = 0x49;

/**
 * A connection pooler in transaction mode, as strict as one can be: after each transaction a client gets another
 * server connection. Whatever depends on a session (prepared statements, LISTEN, session locks) fails immediately.
 */
export async function startTransactionPooler(databaseUrl: string): Promise<Pooler> {
  const free: Server[] = [];
  const servers: Server[] = [];
  const queue: Borrower[] = [];
  for (let index = 0; index < 4; index += 1) {
    const client = new pg.Client({ connectionString: databaseUrl });
    // The connection is ended by us, or ends with the database.
    client.on('error', () => {});
    await client.connect();
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
    stream.removeAllListeners('data');
    const server: Server = { client, stream, borrower: null };
    stream.on(
      'data',
      splitMessages(1, (message) => fromServer(server, message)),
    );
    stream.on('error', () => {});
    stream.setNoDelay(true);
    servers.push(server);
    free.push(server);
  }

  function fromServer(server: Server, message: Buffer): void {
    const { borrower } = server;
    if (!borrower) return;
    borrower.socket.write(message);
    if (message[0] !== READY) return;
    borrower.outstanding -= 1;
    if (message[5] !== IDLE || borrower.outstanding > 0) return;
    server.borrower = null;
    borrower.server = null;
    free.push(server);
    serve();
  }

  function serve(): void {
    while (free.length > 0) {
      const borrower = queue.shift();
      if (!borrower) return;
      const server = free.shift() as Server;
      server.borrower = borrower;
      borrower.server = server;
      for (const message of borrower.waiting.splice(0)) server.stream.write(message);
    }
  }

  function fromClient(borrower: Borrower, message: Buffer): void {
    if (message[0] === TERMINATE) return void borrower.socket.end();
    if (message[0] === QUERY || message[0] === SYNC) borrower.outstanding += 1;
    if (borrower.server) return void borrower.server.stream.write(message);
    borrower.waiting.push(message);
    if (borrower.waiting.length === 1) queue.push(borrower);
    serve();
  }

  const listener = createServer({ noDelay: true }, (socket) => {
    const borrower: Borrower = { socket, server: null, waiting: [], outstanding: 0 };
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(greeting());
      socket.on(
        'data',
        splitMessages(1, (message) => fromClient(borrower, message)),
      );
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.port = String((listener.address() as { port: number }).port);
  return {
    url: url.href,
    async stop() {
      listener.close();
      for (const server of servers) server.stream.destroy();
    },
  };
}

/** AuthenticationOk, BackendKeyData with a made-up process number, ReadyForQuery. */
function greeting(): Buffer {
  const ok = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]);
  const key = Buffer.from([0x4b, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]);
  key.writeUInt32BE(randomInt(1, 2 ** 31), 5);
  return Buffer.concat([ok, key, Buffer.from([READY, 0, 0, 0, 5, IDLE])]);
}

/** Splits a stream into messages: a type of `typeBytes`, then a length that includes itself. */
function splitMessages(typeBytes: number, take: (message: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= typeBytes + 4) {
      const length = typeBytes + rest.readUInt32BE(typeBytes);
      if (rest.length < length) return;
      const message = rest.subarray(0, length);
      rest = rest.subarray(length);
      take(message);
    }
  };
}
