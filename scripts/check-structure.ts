import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { report } from './report.ts';

/**
 * Makes sure that dependencies point one way: fails when a folder of `src/` imports one of its own level or above, and
 * when files import each other in a circle. ARCHITECTURE.md shows the same levels.
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

/** Root modules of the last level may import each other. */
const ROOT_LEVEL = LEVELS.length - 1;

const levelOf = new Map(LEVELS.flatMap((names, level) => names.map((name) => [name, level] as const)));
const partOf = (file: string): string => file.split('/')[1] ?? '';
const problems: string[] = [];

const imports = new Map<string, string[]>();
for (const file of globSync('src/**/*.ts').sort()) {
  const text = readFileSync(file, 'utf8');
  const specifiers = text.matchAll(/(?:from|import\()\s*'(\.{1,2}\/[^']+\.ts)'/g);
  imports.set(
    file,
    Array.from(specifiers, ([, specifier = '']) => normalize(join(dirname(file), specifier))),
  );
}

for (const [file, targets] of imports) {
  const from = partOf(file);
  const level = levelOf.get(from);
  if (level === undefined) {
    problems.push(`${file}: ${from} has no level`);
    continue;
  }
  for (const to of targets.filter((target) => target.startsWith('src/')).map(partOf)) {
    const target = levelOf.get(to);
    if (from === to || target === undefined || target > level) continue;
    if (target < level || level !== ROOT_LEVEL) problems.push(`${file}: ${from} must not import ${to}`);
  }
}

const finished = new Set<string>();

/** Follows imports from a file. An import of a file that is already on the path closes a circle. */
function findCircles(file: string, way: readonly string[]): void {
  if (way.includes(file)) problems.push([...way.slice(way.indexOf(file)), file].join(' imports '));
  if (finished.has(file) || way.includes(file)) return;
  for (const target of imports.get(file) ?? []) findCircles(target, [...way, file]);
  finished.add(file);
}

for (const file of imports.keys()) findCircles(file, []);

report(problems, 'Dependencies point one way.');
