import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Logger } from 'pino';
import { readConfig } from '../../src/config.ts';
import { type RunningServer, startServer } from '../../src/server.ts';
import { until } from './wait.ts';

/** The folder of the current version. */
const ROOT = join(import.meta.dirname, '../..');

/** What a started process inherits from the tests' environment: only what finds Node and speeds it up. */
export const BARE_ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: process.env.PATH ?? '',
  ...(process.env.NODE_COMPILE_CACHE ? { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE } : {}),
};

export interface Running {
  readonly child: ChildProcess;
  /** Everything that it has printed. */
  output(): string;
  readonly ended: Promise<{
    /** `null`: ended by the signal. */
    code: number | null;
    signal: NodeJS.Signals | null;
    stdout: string;
    stderr: string;
  }>;
}

/** They stop the tests. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM'] as const;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A process that a failed test leaves running is killed when the tests end. */
export function endWithTests(child: ChildProcess): void {
  running.add(child);
  child.once('close', () => running.delete(child));
}

export interface ServerProcess extends Running {
  readonly url: string;
}

/**
 * Runs a command of `src/main.ts` as a person or a supervisor would, without the tests' own environment.
 *
 * @param folder where the version to run is installed
 */
export function startCommand(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  folder = ROOT,
): Running {
  const child = spawn(process.execPath, [join(folder, 'src/main.ts'), ...args], {
    cwd: '/',
    env: { ...BARE_ENVIRONMENT, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endWithTests(child);
  const printed = { output: '', stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      printed[name] += text;
      printed.output += text;
    });
  }
  const ended: Running['ended'] = new Promise((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal, stdout: printed.stdout, stderr: printed.stderr });
    });
  });
  return { child, output: () => printed.output, ended };
}

/** The ids of the machine's processes whose arguments match; the first is the program. Works only on Linux. */
export async function findProcesses(matches: (args: readonly string[]) => boolean): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (matches(line.split('\0'))) found.push(pid);
  }
  return found;
}

/**
 * Runs a command in this process, in a tenth of the time that starting one takes. Returns what the command prints; a
 * refusal is thrown as an error.
 */
export async function runCommandHere(
  addCommand: (program: Command) => void,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const before = Object.keys(environment).map((name) => [name, process.env[name]] as const);
  const { exitCode } = process;
  Object.assign(process.env, environment);
  using stdout = recordText(process.stdout);
  using stderr = recordText(process.stderr);
  try {
    const program = new Command();
    addCommand(program);
    await program.parseAsync(args, { from: 'user' });
    return { code: Number(process.exitCode ?? 0), stdout: stdout.text(), stderr: stderr.text() };
  } finally {
    process.exitCode = exitCode;
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/** Starts a server in this process: only a server that is killed needs a process of its own. */
export async function startServerHere(
  environment: Readonly<Record<string, string>>,
  logger: Logger,
): Promise<RunningServer> {
  const read = readConfig(environment);
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  return startServer(read.config, logger);
}

/** Captures text that is written to a stream. The test runner writes its messages to stdout as bytes, which pass. */
function recordText(stream: NodeJS.WriteStream): Disposable & { text(): string } {
  const { write } = stream;
  let text = '';
  stream.write = (chunk: string | Uint8Array, ...rest: never[]): boolean => {
    if (typeof chunk !== 'string') return write.call(stream, chunk, ...rest);
    text += chunk;
    return true;
  };
  return {
    text: () => text,
    [Symbol.dispose]: () => {
      stream.write = write;
    },
  };
}

/** Starts the server and waits until it is ready. `PORT` 0 means any. */
export async function startServerProcess(
  environment: Readonly<Record<string, string>>,
  folder = ROOT,
): Promise<ServerProcess> {
  const started = startCommand(['serve'], { LOG_LEVEL: 'info', ...environment }, folder);
  const port = await until(
    () => {
      if (started.child.exitCode !== null) throw new Error(`It ended:\n${started.output()}`);
      return /"port":(\d+)/.exec(started.output())?.[1];
    },
    'the server to listen',
    60_000,
  );
  const url = `http://127.0.0.1:${port}`;
  await until(
    () =>
      fetch(`${url}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      ),
    'the server to be ready',
  );
  return { ...started, url };
}
