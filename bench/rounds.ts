import type { LoadInput, LoadResult } from './load.ts';
import { type Running, runToEnd } from './processes.ts';
import type { Setting } from './setting.ts';

export interface Measured extends LoadResult {
  /** Processor time of the server and of PostgreSQL per request, µs. */
  readonly serverUs: number;
  readonly postgresUs: number;
}

interface Target {
  readonly server: Running;
  readonly load: Omit<LoadInput, 'seconds'>;
}

export function runLoad(input: LoadInput): Promise<LoadResult> {
  return runToEnd<LoadResult>('bench/load.ts', input);
}

/** Loads servers in turn, several times, because the machine's speed changes. Processor time hardly changes. */
export async function loadInTurn<Name extends string>(
  setting: Setting,
  targets: Readonly<Record<Name, Target>>,
): Promise<Readonly<Record<Name, Measured[]>>> {
  const { quick } = setting;
  const entries = Object.entries<Target>(targets);
  for (const [, target] of entries) await measure(setting, target, quick ? 1 : 3);
  const results = new Map(entries.map(([name]) => [name, [] as Measured[]]));
  for (let round = 0; round < (quick ? 2 : 5); round += 1) {
    for (const [name, target] of entries) {
      const result = await measure(setting, target, quick ? 2 : 5);
      if (result.failures > 0) throw new Error(`${name}: ${result.failures} requests failed`);
      results.get(name)?.push(result);
    }
  }
  return Object.fromEntries(results) as Record<Name, Measured[]>;
}

async function measure(setting: Setting, { server, load }: Target, seconds: number): Promise<Measured> {
  const serverUs = server.processorUs();
  const postgresUs = await setting.postgresUs();
  const result = await runLoad({ ...load, seconds });
  return {
    ...result,
    serverUs: (server.processorUs() - serverUs) / result.requests,
    postgresUs: ((await setting.postgresUs()) - postgresUs) / result.requests,
  };
}

export function totalUs({ serverUs, postgresUs }: Measured): number {
  return serverUs + postgresUs;
}
