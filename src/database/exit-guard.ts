import { spawn } from 'node:child_process';

/**
 * Runs a shell script when this process ends, however it ends: a small shell waits for the end of a pipe that only
 * this process holds open. The shell has its own process group, so that Ctrl-C does not end it.
 *
 * @param args `$1`, `$2` … of the script
 * @returns a function that cancels it
 */
export function runAfterExit(script: string, args: readonly string[]): () => void {
  // Windows has no POSIX shell; the embedded database is for trying the app there.
  if (process.platform === 'win32') return () => {};
  const guard = spawn('sh', ['-c', `read -r _ && exit; ${script}`, 'sh', ...args], {
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', () => {});
  guard.stdin.on('error', () => {});
  guard.unref();
  (guard.stdin as unknown as { unref?: () => void }).unref?.();
  return () => guard.stdin.end('cancel\n');
}
