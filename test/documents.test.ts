import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { OUTSIDE_CHECKS } from '../src/doctor/outside-checks.ts';
import { PROJECT_CHECKS } from '../src/doctor/project-checks.ts';
import { DATABASE_CHECKS, SERVER_CHECKS } from '../src/doctor/server-checks.ts';
import { DATA_DIR_CHECKS, FURTHER_DATABASE_CHECKS, SETTINGS_CHECKS } from '../src/doctor/settings-checks.ts';
import { WORKSPACE_CHECKS } from '../src/doctor/workspace-checks.ts';

const ROOT = join(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const source = globSync('src/**/*.ts', { cwd: ROOT })
  .filter((file) => !file.startsWith('src/simulator/'))
  .map(read)
  .join('\n');
const documents = ['*.md', 'docs/*.md'].flatMap((pattern) => globSync(pattern, { cwd: ROOT })).sort();
const operations = read('docs/operations.md');

/** The names in backticks in one section. */
function namesIn(text: string, heading: string): string[] {
  const section = text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  assert.notEqual(section, '', `no section ${heading}`);
  return [...section.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
}

/** The anchors that GitHub generates from headings. */
function anchorsOf(text: string): Set<string> {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map((match) => match[1] ?? '');
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

describe('documents', () => {
  test('link only to files and headings that exist', () => {
    const broken: string[] = [];
    for (const document of documents) {
      const text = read(document).replace(/^```.*?^```/gms, '');
      for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? document : join(dirname(document), path);
        const isFound =
          existsSync(join(ROOT, file)) && (anchor === undefined || anchorsOf(read(file)).has(anchor));
        if (!isFound) broken.push(`${document}: ${target}`);
      }
    }
    assert.deepEqual(broken, []);
  });

  test('ARCHITECTURE.md lists the levels that the check enforces, and every folder', () => {
    const script = read('scripts/check-structure.ts');
    const levels = (script.split('const LEVELS')[1]?.split('];')[0] ?? '')
      .split('\n')
      .map((line) => [...line.matchAll(/'([^']+)'/g)].map((match) => match[1] ?? ''))
      .filter((names) => names.length > 0);
    const text = read('ARCHITECTURE.md');
    const listed = text.split('## Levels')[1]?.split('```\n')[1]?.trim().split('\n') ?? [];
    assert.deepEqual(
      listed.map((line) => line.split(/ +/)),
      levels,
    );
    for (const name of levels.flat())
      if (!name.endsWith('.ts')) assert.ok(text.includes(`\`${name}/\``), name);
  });

  test('ARCHITECTURE.md, CONTRIBUTING.md and SECURITY.md name files and functions that exist', () => {
    for (const document of ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'SECURITY.md']) {
      const text = read(document).replace(/^```.*?^```/gms, '');
      const names = [...text.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
      for (const path of names.filter((name) => /^\w[\w./-]*\.(?:ts|json|sql|yaml|md)$/.test(name))) {
        const isFound =
          existsSync(join(ROOT, path)) ||
          existsSync(join(ROOT, 'src', path)) ||
          globSync(`src/**/${path}`, { cwd: ROOT }).length > 0;
        assert.ok(isFound, `${document}: ${path}`);
      }
      for (const name of names.filter((each) => /^[a-z]+[A-Z]\w+$/.test(each)))
        assert.match(source, new RegExp(`\\b${name}\\b`), `${document}: ${name}`);
    }
  });

  test('the runbook names log messages that the code writes', () => {
    for (const message of namesIn(operations, 'Log messages'))
      assert.ok(source.includes(message), `not in src/: ${message}`);
  });

  test('the runbook names metrics, alerts, doctor checks and error codes that exist, and every alert', () => {
    const gauges = [...source.matchAll(/(\w+): \{\s+(?:label,\s+)?help:/g)].map((match) => match[1]);
    for (const [, name = ''] of operations.matchAll(/subscription_timeline_(\w+)/g))
      assert.ok(source.includes(`subscription_timeline_${name}`) || gauges.includes(name), name);
    const alerts = [...read('ops/alerts.yaml').matchAll(/alert: SubscriptionTimeline(\w+)/g)].map(
      (match) => match[1],
    );
    const listed = namesIn(operations, 'Alerts').filter((name) => /^[A-Z]\w+$/.test(name));
    assert.deepEqual(listed.toSorted(), alerts.toSorted());
    const checks = Object.keys({
      ...SETTINGS_CHECKS,
      ...DATA_DIR_CHECKS,
      ...FURTHER_DATABASE_CHECKS,
      ...OUTSIDE_CHECKS,
      ...DATABASE_CHECKS,
      ...SERVER_CHECKS,
      ...WORKSPACE_CHECKS,
      ...PROJECT_CHECKS,
      stalled: 'which is no entry of a table',
    });
    const described = namesIn(operations, 'Doctor').filter((name) => /^[a-z_]+$/.test(name));
    assert.deepEqual([...new Set(described)].toSorted(), checks.toSorted());
    for (const code of namesIn(operations, 'Codes')) assert.ok(source.includes(`'${code}'`), code);
  });

  test('the runbook and configuration.md show commands that exist', () => {
    const commands = [...source.matchAll(/\.command\('([\w-]+)'\)/g)].map((match) => match[1] ?? '');
    const shown = [operations, read('docs/configuration.md'), read('README.md')].flatMap((text) =>
      [...text.matchAll(/\bcli(?: --)? ([a-z][\w-]*)/g)].map((match) => match[1] ?? ''),
    );
    assert.ok(shown.length > 10);
    for (const command of shown) assert.ok(commands.includes(command), command);
    const table = read('docs/configuration.md');
    for (const command of commands) assert.match(table, new RegExp(`^\\| \`${command}\\b`, 'm'), command);
    const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: object }).scripts);
    for (const document of documents)
      for (const [, script = ''] of read(document).matchAll(/npm run (?:-s |--silent )?([\w:-]+)/g))
        assert.ok(scripts.includes(script), `${document}: npm run ${script}`);
  });

  test('configuration.md describes every setting, and .env.example names no other', () => {
    const schema = source.split('const environmentSchema = z.object({')[1]?.split('});')[0] ?? '';
    const settings = [...schema.matchAll(/^ {2}([A-Z_]+):/gm)].map((match) => match[1] ?? '');
    assert.ok(settings.length > 20);
    const described = new Set(
      [...read('docs/configuration.md').matchAll(/`([A-Z][A-Z_]+)`/g)].map((match) => match[1] ?? ''),
    );
    for (const setting of settings) assert.ok(described.has(setting), setting);
    for (const [, name = ''] of read('.env.example').matchAll(/^([A-Z_]+)=/gm))
      assert.ok(settings.includes(name), name);
  });

  test('the runbook fits a terminal of 100 columns', () => {
    const long = operations.split('\n').filter((line) => [...line].length > 100);
    assert.deepEqual(long, []);
  });
});
