import { type Config, type ConfigProblem, readConfig } from '../config.ts';
import { type Finding, ok, problem } from './check-result.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Settings {
  readonly findings: Finding[];
  /** As far as they can be used: `null` when even the database cannot be found with them. */
  readonly config: Config | null;
  /** Whether `config.publicUrl` stands in for one that is wrong. */
  readonly isPublicUrlWrong: boolean;
}

export function checkSettings(environment: Environment): Settings {
  const read = readConfig(environment);
  if (read.ok)
    return {
      findings: [ok('settings', 'All settings are valid.')],
      config: read.config,
      isPublicUrlWrong: false,
    };
  return {
    isPublicUrlWrong: read.problems.some(({ name }) => name === 'PUBLIC_URL'),
    findings: read.problems.map((each) =>
      problem(
        'settings',
        `${each.name} ${each.message}.`,
        `Correct ${each.name} in the environment or in .env, then restart.`,
      ),
    ),
    config: withoutProblems(environment, read.problems),
  };
}

/** What is wrong is left out, so that everything else can still be looked at. */
function withoutProblems(environment: Environment, problems: readonly ConfigProblem[]): Config | null {
  const usable: Record<string, string | undefined> = { ...environment };
  for (const { name } of problems) {
    // With another database than the one that was meant, every further finding would be wrong.
    if (name.startsWith('DATABASE_') || name === 'DATA_DIR') return null;
    usable[name] = name.startsWith('INTERCOM_CLIENT_') ? 'missing' : undefined;
  }
  if (problems.some(({ name }) => name === 'PUBLIC_URL' || name === 'ENCRYPTION_KEYS'))
    usable.NODE_ENV = undefined;
  const read = readConfig(usable);
  return read.ok ? read.config : null;
}
