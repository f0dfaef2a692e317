import type { Command } from 'commander';
import { loadCommandConfig } from '../config.ts';
import { badRequest } from '../errors.ts';
import { createCommandLogger } from '../logger.ts';
import { connectDatabase, rollBack } from './connection.ts';

interface Options {
  readonly undo?: string;
  readonly json?: boolean;
}

export function addMigrateCommand(program: Command): void {
  program
    .command('migrate')
    .description('run the missing migrations')
    .option('--undo <count>', 'undo the newest migrations instead; data that only they store is lost')
    .option('--json', 'print JSON')
    .action((options: Options) =>
      options.undo === undefined ? migrate(options) : undo(options.undo, options.json),
    );
}

async function migrate({ json }: Options): Promise<void> {
  const connected = await connectDatabase(loadCommandConfig(), createCommandLogger('warn'));
  await connected.close();
  process.stdout.write(json ? `${JSON.stringify({ up_to_date: true })}\n` : 'The database is up to date.\n');
}

async function undo(count: string, json = false): Promise<void> {
  if (!/^[1-9]\d?$/.test(count)) throw badRequest('--undo takes a number from 1 to 99');
  const undone = await rollBack(loadCommandConfig(), createCommandLogger('warn'), Number(count));
  process.stdout.write(
    json
      ? `${JSON.stringify({ undone })}\n`
      : undone.map((name) => `Undone: ${name}\n`).join('') || 'Nothing to undo.\n',
  );
}
