import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A destination that costs next to nothing, so that only the sender is measured. It takes LATENCY_MS, answers a share
 * of FAILING with 500, and removes duplicates by contact, name and second as Intercom does. The contact of `user-7` is
 * `c-user-7`. `GET /counts` returns the number of events.
 */
const { LATENCY_MS = '0', FAILING = '0', TOKEN = '' } = process.env;

const events = new Set<string>();

function textOf(req: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    req.setEncoding('utf8');
    req.on('data', (chunk: string) => {
      text += chunk;
    });
    req.on('end', () => resolve(text));
    req.on('error', reject);
  });
}

function answer(res: ServerResponse, status: number, body?: unknown): void {
  const text = body === undefined ? '' : JSON.stringify(body);
  res.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  res.end(text);
}

function contact(id: string): unknown {
  return { type: 'contact', id, external_id: id.slice(2), role: 'user', custom_attributes: {} };
}

async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const url = req.url ?? '';
  if (url === '/counts') return answer(res, 200, { events: events.size, windows: {} });
  const [text] = await Promise.all([textOf(req), sleep(Number(LATENCY_MS))]);
  if (req.headers.authorization !== `Bearer ${TOKEN}`)
    return answer(res, 401, { type: 'error.list', errors: [{ code: 'unauthorized', message: '' }] });
  if (Math.random() < Number(FAILING))
    return answer(res, 500, { type: 'error.list', errors: [{ code: 'server_error', message: '' }] });
  if (req.method === 'POST' && url === '/events') {
    const event = JSON.parse(text) as { id: string; event_name: string; created_at: number };
    events.add(`${event.id} ${event.event_name} ${event.created_at}`);
    return answer(res, 202);
  }
  const byExternalId = /^\/contacts\/find_by_external_id\/(.+)$/.exec(url);
  if (byExternalId) return answer(res, 200, contact(`c-${byExternalId[1]}`));
  const byId = /^\/contacts\/(.+)$/.exec(url);
  if (byId) return answer(res, 200, contact(byId[1] ?? ''));
  answer(res, 404, { type: 'error.list', errors: [{ code: 'not_found', message: '' }] });
}

const server = createServer((req, res) => {
  serve(req, res).catch(() => answer(res, 400));
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ msg: 'listening', port })}\n`);
});
process.on('SIGTERM', () => process.exit(0));
