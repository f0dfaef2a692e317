import { type Config, type ConfigProblem, readConfig } from '../config.ts';
import { type Finding, ok, problem, warning } from './finding.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The settings as far as they can be used: `null` when even the database cannot be found with them. */
export function checkSettings(environment: Environment): { findings: Finding[]; config: Config | null } {
  const read = readConfig(environment);
  if (read.ok)
    return {
      findings: [ok('settings', 'All settings are valid.'), ...advise(read.config)],
      config: read.config,
    };
  return {
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

function advise(config: Config): Finding[] {
  const findings: Finding[] = [];
  const { hostname } = new URL(config.publicUrl);
  if (hostname === 'localhost' || hostname === '127.0.0.1') {
    findings.push(
      warning(
        'public_url',
        `PUBLIC_URL is ${config.publicUrl}: Intercom and RevenueCat cannot reach it.`,
        'Set PUBLIC_URL to the HTTPS address under which this server is reached from the internet.',
      ),
    );
  } else findings.push(ok('public_url', `The public address is ${config.publicUrl}.`));
  if (!config.production && hostname !== 'localhost' && hostname !== '127.0.0.1') {
    findings.push(
      warning(
        'production',
        'NODE_ENV is not "production": cookies are sent without HTTPS too, and settings are checked less strictly.',
        'Set NODE_ENV=production.',
      ),
    );
  }
  return findings;
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
