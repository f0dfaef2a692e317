import type { Config } from '../config.ts';
import { openDatabase } from '../database/data-source.ts';
import { createCommandLogger } from '../logger.ts';
import { type Finding, ok, warning } from './check-result.ts';
import { databaseAway } from './database-unavailable.ts';

/** Cards are read from the primary when the replica is half a second behind; this is behind for good. */
const FAR_BEHIND_S = 10;

/** The databases that stand beside `DATABASE_URL`: without the replica the app works, without the direct way not well. */
export async function checkFurtherDatabases(
  config: Pick<Config, 'databaseUrl' | 'databaseReadUrl' | 'databaseDirectUrl' | 'dataDir'>,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (config.databaseReadUrl !== null) {
    findings.push(
      await lookInto(config, 'DATABASE_READ_URL', config.databaseReadUrl).catch((error: unknown) => {
        const { message, remedy } = databaseAway(config, error, 'DATABASE_READ_URL');
        return warning('replica', `${message}. Cards are read from the primary.`, remedy ?? '');
      }),
    );
  }
  if (config.databaseDirectUrl !== null) {
    await lookInto(config, 'DATABASE_DIRECT_URL', config.databaseDirectUrl).catch((error: unknown) => {
      findings.push(databaseAway(config, error, 'DATABASE_DIRECT_URL'));
    });
  }
  return findings;
}

async function lookInto(
  config: Pick<Config, 'databaseUrl'>,
  setting: 'DATABASE_READ_URL' | 'DATABASE_DIRECT_URL',
  url: string,
): Promise<Finding> {
  const { database, close } = await openDatabase({ url, logger: createCommandLogger('silent'), poolSize: 1 });
  try {
    const [row] = await database.query<{ replica: boolean; behind: number | null }>(
      `select pg_is_in_recovery() as replica,
              case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
                   else extract(epoch from now() - pg_last_xact_replay_timestamp())::float8 end as behind`,
    );
    if (setting === 'DATABASE_READ_URL' && !row?.replica) {
      return warning(
        'replica',
        'DATABASE_READ_URL leads to a server that is no replica: cards are read from the primary.',
        config.databaseUrl === url
          ? 'Leave DATABASE_READ_URL empty, or name a streaming replica in it.'
          : 'Correct DATABASE_READ_URL. A replica that was promoted is no replica any more: make a new one.',
      );
    }
    const behind = Math.round(row?.behind ?? 0);
    if (behind > FAR_BEHIND_S) {
      return warning(
        'replica',
        `The replica is ${behind} s behind: cards are read from the primary.`,
        'See pg_stat_replication on the primary, and the log, disk and network of the replica.',
      );
    }
    return ok('replica', 'The replica answers and is in time.');
  } finally {
    await close();
  }
}
