/** Prints what a check has found; it fails if that is anything. */
export function report(problems: readonly string[], summary: string): void {
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  process.stdout.write(problems.length === 0 ? `${summary}\n` : `${problems.length} problems\n`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
