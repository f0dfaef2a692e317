import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** A child process of the benchmark: a server under load, or a load generator. */
export interface Running {
  readonly url: string;
  /** Resident memory now, and its highest so far, MiB. */
  memory(): number;
  peakMemory(): number;
  /** User and system time so far, µs. */
  processorUs(): number;
  stop(): Promise<void>;
  /** `kill -9`. */
  kill(): Promise<void>;
}

const children = new Set<ChildProcess>();

/** Starts a TypeScript file and waits until it logs `{"msg":"listening","port":…}`. */
export async function startProcess(
  file: string,
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): Promise<Running> {
  const child = spawn(process.execPath, [...profiling(env), file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, NODE_ENV: 'development', PORT: '0', ...env },
  });
  children.add(child);
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => {
      children.delete(child);
      resolve();
    });
  });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${file} ended with ${code}`)));
    if (!child.stdout) throw new Error('no output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry = line.startsWith('{') ? (JSON.parse(line) as { msg?: string; port?: number }) : {};
      if (entry.msg === 'listening') resolve(entry.port ?? 0);
    });
  });
  return {
    url: `http://127.0.0.1:${port}`,
    memory: () => memoryMiB(child.pid, 'VmRSS'),
    peakMemory: () => memoryMiB(child.pid, 'VmHWM'),
    processorUs: () => processorUs(child.pid ?? 0),
    async stop() {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await gone;
      clearTimeout(late);
    },
    async kill() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

function memoryMiB(pid: number | undefined, field: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1_024);
}

/** `BENCH_PROFILE=<folder>` writes a CPU profile of each process there. */
function profiling(env: Readonly<Record<string, string>>): string[] {
  const folder = process.env.BENCH_PROFILE;
  if (!folder || !env.BENCH_NAME) return [];
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${env.BENCH_NAME}.cpuprofile`];
}

const TICK_US = 10_000;

/** User and system time of a process and of its children that have ended, µs; 0: the process itself has ended. */
export function processorUs(pid: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return 0;
  }
  const fields = stat.split(') ')[1]?.split(' ') ?? [];
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_US;
}

export function killAll(): void {
  for (const child of children) child.kill('SIGKILL');
}

/** Kills all child processes when the benchmark is interrupted. */
export function stopOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      killAll();
      process.exit(130);
    });
  }
}

/** Runs a TypeScript file to its end and reads the JSON that it prints. */
export async function runToEnd<T>(file: string, input: unknown): Promise<T> {
  const child = spawn(process.execPath, [file, JSON.stringify(input)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.add(child);
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  children.delete(child);
  if (code !== 0) throw new Error(`${file} ended with ${code}`);
  return JSON.parse(output) as T;
}
