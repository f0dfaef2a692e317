/** Prints the problems that a check has found. The check fails if there are any. */
export function report(problems: readonly string[], summary: string): void {
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  process.stdout.write(problems.length === 0 ? `${summary}\n` : `${problems.length} problems\n`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
