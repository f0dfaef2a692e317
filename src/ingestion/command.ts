import type { Command } from 'commander';
import { printResult } from '../logger.ts';
import { parseIsoTime } from '../time.ts';
import { type CommandContext, chooseProjects, withCommandContext } from '../workspaces/command-context.ts';
import { reinterpret, SEND_WITHIN_DAYS } from './reinterpret.ts';

interface Options {
  readonly workspace: string;
  readonly project?: string;
  /** Epoch ms. */
  readonly since?: number;
  readonly json?: boolean;
}

/** `reinterpret`: safe while the server runs. */
export function addReinterpretCommand(program: Command): void {
  program
    .command('reinterpret')
    .description(
      `interpret the stored webhooks again; events that this adds are sent when younger than ${SEND_WITHIN_DAYS} days`,
    )
    .requiredOption('--workspace <id>', 'Intercom workspace ID')
    .option('--project <id>', "one connected project (its id here or RevenueCat's)")
    .option('--since <ISO time>', 'only webhooks received since then', (text) =>
      parseIsoTime(text, '--since'),
    )
    .option('--json', 'print JSON')
    .action((options: Options) => withCommandContext((context) => run(context, options)));
}

async function run(context: CommandContext, options: Options): Promise<void> {
  const { database, secrets } = context;
  const projects = await chooseProjects(context, options);
  const selection = { secrets, sinceMs: options.since ?? 0, nowMs: Date.now() };
  const total = await reinterpret(database, projects, selection);
  const { unchanged, corrected, added, failed } = total;
  const counts = `${unchanged} webhooks unchanged, ${corrected} corrected, ${added} added, ${failed} failed.`;
  printResult(options.json, total, counts);
}
