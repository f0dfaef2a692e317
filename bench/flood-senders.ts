import { connect, type Socket } from 'node:net';

/** Where to send, for how long, and over how many connections. */
export interface FloodInput {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  readonly workspaceId: string;
  readonly projectId: string;
}

export interface FloodResult {
  /** Responses by status, and `closed`: connections that ended before a response. */
  readonly responses: Readonly<Record<string, number>>;
  readonly sentBytes: number;
}

const MIB = 1024 * 1024;
const TRICKLE_MS = 500;
const RECONNECT_MS = 20;
/** A sender waits at most this long for a response, then starts again. */
const PATIENCE_MS = 15_000;

const input = JSON.parse(process.argv[2] ?? '{}') as FloodInput;
const { hostname, port } = new URL(input.url);
const responses: Record<string, number> = {};
let sentBytes = 0;
const endsAtMs = Date.now() + input.seconds * 1_000;

const WRONG_SIGNATURE = { 'X-Body-Signature': '0'.repeat(64) };
const WRONG_KEY = { Authorization: 'Bearer whk_wrong' };
const CARD = '/canvas/inbox/initialize';
const WEBHOOK = `/webhooks/revenuecat/${input.projectId}`;
const smallBody = JSON.stringify({ workspace_id: input.workspaceId, app_id: input.workspaceId, contact: {} });
/** A JSON parser with a reviver takes 720 ms for it. */
const costlyBody = `{"z":"\\u0000","k":[${'1,'.repeat(MIB / 2 - 20)}1]}`;
const hugeBody = Buffer.alloc(10 * MIB, 'x');

function request(path: string, headers: Record<string, string>, body: string | Buffer): Buffer {
  const bytes = Buffer.from(body);
  const lines = Object.entries({
    Host: 'app.test',
    'Content-Type': 'application/json',
    'Content-Length': String(bytes.length),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n`), bytes]);
}

/** Sent again and again over one connection, each after the response to the one before. */
const REPEATED: readonly Buffer[] = [
  request(CARD, {}, smallBody),
  request(CARD, WRONG_SIGNATURE, smallBody),
  request(WEBHOOK, WRONG_KEY, smallBody),
  request('/intercom/uninstall', {}, smallBody),
  request(CARD, {}, costlyBody),
  request(WEBHOOK, WRONG_KEY, costlyBody),
  request(CARD, {}, hugeBody),
  request(CARD, WRONG_SIGNATURE, hugeBody),
];

/** Sent a byte at a time: headers that never end, and bodies that announce more than they send. */
const SLOW: readonly Buffer[] = [
  Buffer.from(`POST ${CARD} HTTP/1.1\r\nHost: app.test\r\nX-Slow: `),
  request(CARD, WRONG_SIGNATURE, hugeBody).subarray(0, 300),
  request(WEBHOOK, WRONG_KEY, costlyBody).subarray(0, 300),
];

function count(status: string): void {
  responses[status] = (responses[status] ?? 0) + 1;
}

/** Keeps one connection open, and opens another whenever it ends. */
function keepOpen(behave: (socket: Socket) => void): void {
  if (Date.now() > endsAtMs) return;
  const socket = connect(Number(port), hostname);
  socket.setNoDelay(true);
  socket.setTimeout(PATIENCE_MS, () => socket.destroy());
  socket.on('error', () => {});
  socket.once('connect', () => behave(socket));
  socket.once('close', () => setTimeout(() => keepOpen(behave), RECONNECT_MS));
}

function sendRepeatedly(socket: Socket, bytes: Buffer): void {
  let isWaiting = false;
  const send = (): void => {
    isWaiting = true;
    socket.write(bytes);
    sentBytes += bytes.length;
  };
  socket.on('data', (chunk: Buffer) => {
    const status = /^HTTP\/1\.1 (\d{3})/.exec(chunk.toString('latin1', 0, 12))?.[1];
    if (status === undefined) return;
    isWaiting = false;
    count(status);
    // Sends the announced body to its end, whatever the response is, and then the next request.
    if (socket.writableLength === 0) send();
    else socket.once('drain', send);
  });
  socket.once('close', () => {
    if (isWaiting) count('closed');
  });
  send();
}

function trickle(socket: Socket, bytes: Buffer): void {
  socket.write(bytes);
  const timer = setInterval(() => socket.write('x'), TRICKLE_MS);
  socket.on('data', (chunk: Buffer) => {
    const status = /^HTTP\/1\.1 (\d{3})/.exec(chunk.toString('latin1', 0, 12))?.[1];
    if (status !== undefined) count(status);
  });
  socket.once('close', () => clearInterval(timer));
}

const BEHAVIORS = [
  ...REPEATED.map((bytes) => (socket: Socket) => sendRepeatedly(socket, bytes)),
  ...SLOW.map((bytes) => (socket: Socket) => trickle(socket, bytes)),
];
for (let index = 0; index < input.connections; index += 1) {
  const behave = BEHAVIORS[index % BEHAVIORS.length];
  if (behave) keepOpen(behave);
}
setTimeout(() => {
  const result: FloodResult = { responses, sentBytes };
  process.stdout.write(JSON.stringify(result), () => process.exit(0));
}, input.seconds * 1_000);
