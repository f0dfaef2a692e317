import type { Command } from 'commander';
import { loadCommandConfig } from '../config.ts';
import { badRequest } from '../errors.ts';
import { createCommandLogger, printResult } from '../logger.ts';
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
  printResult(json, { up_to_date: true }, 'The database is up to date.');
}

async function undo(count: string, json?: boolean): Promise<void> {
  if (!/^[1-9]\d?$/.test(count)) throw badRequest('--undo takes a number from 1 to 99');
  const undone = await rollBack(loadCommandConfig(), createCommandLogger('warn'), Number(count));
  const lines = undone.map((name) => `Undone: ${name}`);
  printResult(json, { undone }, lines.join('\n') || 'Nothing to undo.');
}
