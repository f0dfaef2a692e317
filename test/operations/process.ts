import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { BARE_ENVIRONMENT } from '../support/bare-environment.ts';
import { until } from '../support/wait.ts';

/** This version. */
const ROOT = join(import.meta.dirname, '../..');

export interface ServerProcess {
  readonly child: ChildProcess;
  readonly url: string;
  /** Everything that it has printed. */
  output(): string;
  /** Resolves with the exit code; `null`: ended by a signal. */
  readonly ended: Promise<number | null>;
}

/**
 * Runs `src/main.ts` as a person or a supervisor would, with nothing of the tests' own environment.
 *
 * @param folder where the version to run is installed
 */
export function run(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  folder = ROOT,
): Omit<ServerProcess, 'url'> {
  const child = spawn(process.execPath, [join(folder, 'src/main.ts'), ...args], {
    cwd: '/',
    env: { ...BARE_ENVIRONMENT, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  return { child, output: () => output, ended };
}

/** Starts the server and waits until it is ready. `PORT` 0 means any. */
export async function startServerProcess(
  environment: Readonly<Record<string, string>>,
  folder = ROOT,
): Promise<ServerProcess> {
  const started = run(['serve'], { LOG_LEVEL: 'info', ...environment }, folder);
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
