import type { Command } from 'commander';
import { loadCommandConfig } from '../config.ts';
import { connectDatabase } from '../database/connection.ts';
import { notFound } from '../errors.ts';
import { createCommandLogger } from '../logger.ts';
import { parseIsoTime } from '../time.ts';
import { readWorkspace } from '../workspaces/store.ts';
import { replayEvents } from './replay.ts';

interface Options {
  readonly workspace: string;
  readonly event?: string;
  readonly failed?: boolean;
  readonly since?: string;
  readonly json?: boolean;
}

export function addReplayCommand(program: Command): void {
  program
    .command('replay')
    .description('deliver events to Intercom again; without further options all failed ones')
    .requiredOption('--workspace <id>', 'Intercom workspace ID')
    .option('--event <id>', 'one event')
    .option('--failed', 'all failed events')
    .option('--since <ISO time>', 'events received since then')
    .option('--json', 'print JSON')
    .action(replay);
}

async function replay(options: Options): Promise<void> {
  const { workspace: workspaceId, event: eventId } = options;
  const sinceMs = options.since === undefined ? undefined : parseIsoTime(options.since, '--since');
  const isAnySelected = eventId !== undefined || sinceMs !== undefined;
  const connected = await connectDatabase(loadCommandConfig(), createCommandLogger('warn'));
  try {
    if ((await readWorkspace(connected.database, workspaceId)) === null)
      throw notFound(`No workspace ${workspaceId} has the app installed`);
    const queued = await replayEvents(connected.database, workspaceId, {
      failedOnly: options.failed ?? !isAnySelected,
      ...(eventId === undefined ? {} : { eventId }),
      ...(sinceMs === undefined ? {} : { sinceMs }),
    });
    if (eventId !== undefined && queued === 0)
      throw notFound(`Workspace ${workspaceId} has no event ${eventId} to deliver`);
    process.stdout.write(
      options.json
        ? `${JSON.stringify({ queued })}\n`
        : `${queued} ${queued === 1 ? 'event' : 'events'} queued again.\n`,
    );
  } finally {
    await connected.close();
  }
}
