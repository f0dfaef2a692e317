import type { Command } from 'commander';
import { notFound } from '../errors.ts';
import { printResult } from '../logger.ts';
import { plural } from '../text.ts';
import { parseIsoTime } from '../time.ts';
import { type CommandContext, requireWorkspace, withCommandContext } from '../workspaces/command-context.ts';
import { replayEvents, retryRejectedContacts } from './replay.ts';

interface Options {
  readonly workspace: string;
  readonly event?: string;
  readonly failed?: boolean;
  /** Epoch ms. */
  readonly since?: number;
  readonly json?: boolean;
}

export function addReplayCommand(program: Command): void {
  program
    .command('replay')
    .description('deliver events to Intercom again; without further options all failed ones')
    .requiredOption('--workspace <id>', 'Intercom workspace ID')
    .option('--event <id>', 'one event')
    .option('--failed', 'all failed events, and the contacts that Intercom rejected')
    .option('--since <ISO time>', 'events received since then', (text) => parseIsoTime(text, '--since'))
    .option('--json', 'print JSON')
    .action((options: Options) => withCommandContext((context) => replay(context, options)));
}

async function replay(context: CommandContext, options: Options): Promise<void> {
  const { workspace: workspaceId, event: eventId, since: sinceMs } = options;
  const isAnySelected = eventId !== undefined || sinceMs !== undefined;
  const failedOnly = options.failed ?? !isAnySelected;
  await requireWorkspace(context, workspaceId);
  const queued = await replayEvents(context.database, workspaceId, { failedOnly, eventId, sinceMs });
  if (eventId !== undefined && queued === 0)
    throw notFound(`Workspace ${workspaceId} has no event ${eventId} to deliver`);
  const contacts =
    failedOnly && !isAnySelected ? await retryRejectedContacts(context.database, workspaceId) : 0;
  const others = contacts > 0 ? ` Contacts tried again: ${contacts}.` : '';
  printResult(options.json, { queued, contacts }, `${plural(queued, 'event')} queued again.${others}`);
}
