import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';

export interface Row {
  readonly row: string;
  readonly what: string;
  readonly value: string;
  /** The baseline in the same run, and its result. */
  readonly against?: string;
  readonly ratio?: number;
  /** The ratio to reach; with `atMost`, the ratio not to exceed. */
  readonly goal?: number;
  readonly atMost?: boolean;
}

function isMet(row: Row): boolean | null {
  if (row.ratio === undefined || row.goal === undefined) return null;
  return row.atMost ? row.ratio <= row.goal : row.ratio >= row.goal;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** @param share 0.99 for the 99th percentile */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
}

export function printTable(rows: readonly Row[]): void {
  const cells = rows.map((row) => [
    row.row,
    row.what,
    row.value,
    row.against ?? '',
    row.ratio === undefined ? '' : row.ratio.toFixed(2),
    row.goal === undefined ? '' : `${row.atMost ? '≤' : '≥'} ${row.goal}`,
    { true: 'met', false: 'missed', null: '' }[String(isMet(row)) as 'true' | 'false' | 'null'],
  ]);
  const head = ['row', 'what', 'measured', 'against', 'ratio', 'goal', ''];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...cells.map((line) => (line[column] ?? '').length)),
  );
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  process.stdout.write(`\n${line(head)}\n${line(widths.map((width) => '-'.repeat(width)))}\n`);
  for (const texts of cells) process.stdout.write(`${line(texts)}\n`);
}

/** Writes all figures, with the commit and the machine that they were measured on. */
export async function writeResults(rows: readonly Row[], options: { quick: boolean }): Promise<string> {
  const at = new Date().toISOString();
  const file = `bench/results/${at.replaceAll(':', '-').slice(0, 19)}${options.quick ? '-quick' : ''}.json`;
  await mkdir('bench/results', { recursive: true });
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? '', node: process.version };
  const result = {
    at,
    commit: commit(),
    quick: options.quick,
    machine,
    rows: rows.map((row) => ({ ...row, met: isMet(row) })),
  };
  await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
  return file;
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}
