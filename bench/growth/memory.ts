import { Agent, request } from 'undici';
import type { Running } from '../processes.ts';
import { AUTHORIZATION, PROJECT_ID } from '../setting.ts';
import { renewal } from './measure.ts';

const CONNECTIONS = 64;
const CUSTOMERS = 100_000;

type MemorySample = readonly [received: number, rssMiB: number];

/** Sends webhooks to a running server and samples its resident memory at every twentieth of the way. */
export async function watchMemory(
  app: Running,
  webhooks: number,
): Promise<{ samples: MemorySample[]; perSecond: number }> {
  const agent = new Agent({ connections: CONNECTIONS });
  const samples: MemorySample[] = [[0, app.memory()]];
  const step = Math.max(1, Math.floor(webhooks / 20));
  let [sent, received] = [0, 0];
  const begunMs = performance.now();
  const sendUntilDone = async (): Promise<void> => {
    while (sent < webhooks) {
      sent += 1;
      const answer = await request(`${app.url}/webhooks/revenuecat/${PROJECT_ID}`, {
        method: 'POST',
        dispatcher: agent,
        headers: { 'content-type': 'application/json', authorization: AUTHORIZATION },
        body: JSON.stringify({ event: renewal(`user-${sent % CUSTOMERS}`) }),
      });
      await answer.body.dump();
      if (answer.statusCode !== 200) throw new Error(`a webhook got ${answer.statusCode}`);
      received += 1;
      if (received % step === 0) samples.push([received, app.memory()]);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, sendUntilDone));
  await agent.close();
  return { samples, perSecond: (received / (performance.now() - begunMs)) * 1_000 };
}
