import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/**
 * Fails when a folder of `src/` imports one of its own level or above it: so there is no cycle, and dependencies point
 * one way. ARCHITECTURE.md shows the same levels.
 */
const LEVELS: readonly (readonly string[])[] = [
  ['main.ts'],
  ['commands.ts'],
  ['simulator'],
  ['server.ts'],
  ['services.ts'],
  ['settings', 'doctor'],
  ['inbox-card', 'backfill'],
  ['grants', 'messenger'],
  ['delivery'],
  ['ingestion', 'contacts'],
  ['subscribers'],
  ['workspaces'],
  ['intercom', 'revenuecat'],
  ['http', 'jobs'],
  ['database', 'i18n'],
  ['subscription'],
  ['config.ts', 'logger.ts'],
  ['errors.ts', 'time.ts', 'text.ts', 'tracing.ts'],
];

/** Root modules of one level know each other. */
const ROOT_LEVEL = LEVELS.length - 1;

const levelOf = new Map(LEVELS.flatMap((names, level) => names.map((name) => [name, level] as const)));
const partOf = (file: string): string => file.split('/')[1] ?? '';
const problems: string[] = [];

for (const file of globSync('src/**/*.ts').sort()) {
  const from = partOf(file);
  const level = levelOf.get(from);
  if (level === undefined) problems.push(`${file}: ${from} has no level`);
  const text = readFileSync(file, 'utf8');
  for (const [, specifier = ''] of text.matchAll(/(?:from|import\()\s*'(\.{1,2}\/[^']+\.ts)'/g)) {
    const to = partOf(normalize(join(dirname(file), specifier)));
    const target = levelOf.get(to);
    if (
      from === to ||
      level === undefined ||
      target === undefined ||
      !join(dirname(file), specifier).startsWith('src/')
    )
      continue;
    if (target < level || (target === level && level !== ROOT_LEVEL))
      problems.push(`${file}: ${from} must not import ${to}`);
  }
}

for (const problem of problems) process.stdout.write(`${problem}\n`);
process.stdout.write(
  problems.length === 0 ? 'Dependencies point one way.\n' : `${problems.length} problems\n`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
