import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { renewal } from './measure.ts';

export interface MemorySample {
  readonly received: number;
  readonly rssMiB: number;
}

const CONNECTIONS = 64;
const CUSTOMERS = 100_000;

/** Sends webhooks to a running server and samples its resident memory at every twentieth of the way. */
export async function watchMemory(input: {
  url: string;
  authorization: string;
  pid: number;
  webhooks: number;
}): Promise<{ samples: MemorySample[]; perSecond: number }> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const samples: MemorySample[] = [{ received: 0, rssMiB: rssOf(input.pid) }];
  const step = Math.max(1, Math.floor(input.webhooks / 20));
  let [sent, received] = [0, 0];
  const begunMs = performance.now();
  const hand = async (): Promise<void> => {
    while (sent < input.webhooks) {
      sent += 1;
      await post(
        agent,
        input.url,
        input.authorization,
        JSON.stringify({ event: renewal(`user-${sent % CUSTOMERS}`) }),
      );
      received += 1;
      if (received % step === 0) samples.push({ received, rssMiB: rssOf(input.pid) });
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, hand));
  agent.destroy();
  return { samples, perSecond: (received / (performance.now() - begunMs)) * 1_000 };
}

function post(agent: Agent, url: string, authorization: string, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        method: 'POST',
        agent,
        headers: { 'Content-Type': 'application/json', Authorization: authorization },
      },
      (answer) => {
        answer.resume();
        answer.on('end', () =>
          answer.statusCode === 200 ? resolve() : reject(new Error(`a webhook got ${answer.statusCode}`)),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function rssOf(pid: number): number {
  return Math.round(
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024,
  );
}
