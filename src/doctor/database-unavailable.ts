import type { Config } from '../config.ts';
import { type DatabaseSetting, explainDatabaseError } from '../database/explain-error.ts';
import { AppError } from '../errors.ts';
import { type Finding, problem } from './check-result.ts';

/** Why a database cannot be used, and what helps against this cause. */
export function databaseAway(
  config: Pick<Config, 'databaseUrl' | 'dataDir'>,
  error: unknown,
  setting: DatabaseSetting = 'DATABASE_URL',
): Finding {
  const { said, remedy } = explainDatabaseError(error, setting);
  if (config.databaseUrl === null && setting === 'DATABASE_URL') {
    return problem(
      'database',
      `The embedded database cannot be used: ${said}`,
      error instanceof AppError
        ? `See what PostgreSQL said, and that the disk of ${config.dataDir} is not full.`
        : `See the log of the server, that the disk of ${config.dataDir} is not full, and that nothing else uses the folder; then start the server again.`,
    );
  }
  return problem(
    'database',
    setting === 'DATABASE_URL'
      ? `The database cannot be used: ${said}`
      : `The database of ${setting} cannot be used: ${said}`,
    `${remedy ?? `See that PostgreSQL runs and that ${setting} is right.`} To try: psql "$${setting}" -c "select 1"`,
  );
}
