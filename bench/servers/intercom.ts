import express from 'express';
import { createIntercomSimulator } from '../../src/simulator/intercom/server.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';
import { CONTACT_ATTRIBUTES } from '../../src/subscription/contact-values.ts';

/**
 * The strict simulator in a process of its own, with one workspace. LATENCY_MS and FAILING (a share) make it slow and
 * unreliable; CUSTOMERS is the number of contacts. `GET /counts` returns the events and calls that it has counted.
 */
const {
  LATENCY_MS = '0',
  FAILING = '0',
  CUSTOMERS = '0',
  RATE = '100000',
  WORKSPACE = '',
  TOKEN = '',
} = process.env;

const intercom = createIntercomSimulator({
  clientId: 'bench',
  clientSecret: 'bench',
  rateLimitPer10s: Number(RATE),
});
intercom.addWorkspace({ id: WORKSPACE });
intercom.addAdmin(WORKSPACE, { id: '7001' });
for (const attribute of CONTACT_ATTRIBUTES)
  intercom.addAttribute(WORKSPACE, attribute.name, attribute.dataType);
for (let customer = 0; customer < Number(CUSTOMERS); customer += 1)
  intercom.addContact(WORKSPACE, { role: 'user', externalId: `user-${customer}` });
const issued = intercom.issueToken(WORKSPACE);
const token = intercom.state.tokens.get(issued);
if (token) intercom.state.tokens.set(TOKEN, { ...token, token: TOKEN });
if (Number(LATENCY_MS) > 0) intercom.faults.add({ latencyMs: Number(LATENCY_MS) });
if (Number(FAILING) > 0) intercom.faults.add({ status: 500, share: Number(FAILING) });

/** Calls that used up quota, and calls that were refused, by ten-second window. */
const windows = new Map<number, { used: number; refused: number }>();

const app = express();
app.get('/counts', (_req, res) => {
  const events = intercom.state.events.length;
  res.json({ events, windows: Object.fromEntries(windows) });
});
app.get('/times', (_req, res) => {
  res.json(intercom.state.events.map((event) => [event.metadata.event_id, event.receivedAtMs]));
});
app.use((_req, res, next) => {
  res.once('finish', () => {
    if (res.getHeader('x-ratelimit-limit') === undefined) return;
    const index = Number(res.getHeader('x-ratelimit-reset')) / 10 - 1;
    const window = windows.get(index) ?? { used: 0, refused: 0 };
    if (res.statusCode === 429) window.refused += 1;
    else window.used += 1;
    windows.set(index, window);
  });
  next();
}, intercom.app);

const listening = await listenOnLoopback(app);
process.stdout.write(`${JSON.stringify({ msg: 'listening', port: Number(new URL(listening.url).port) })}\n`);
process.on('SIGTERM', () => process.exit(0));
