import type { Command } from 'commander';
import { loadCommandConfig } from '../config.ts';
import { connectDatabase } from '../database/connection.ts';
import { notFound } from '../errors.ts';
import { createCommandLogger } from '../logger.ts';
import { parseIsoTime } from '../time.ts';
import { listProjects } from '../workspaces/projects.ts';
import { createSecretBox, loadEncryptionKeys } from '../workspaces/secrets.ts';
import { readWorkspace } from '../workspaces/store.ts';
import { type Reinterpreted, reinterpret, SEND_WITHIN_DAYS } from './reinterpret.ts';

interface Options {
  readonly workspace: string;
  readonly project?: string;
  readonly since?: string;
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
    .option('--since <ISO time>', 'only webhooks received since then')
    .option('--json', 'print JSON')
    .action(run);
}

async function run(options: Options): Promise<void> {
  const sinceMs = options.since === undefined ? 0 : parseIsoTime(options.since, '--since');
  const config = loadCommandConfig();
  const secrets = createSecretBox(await loadEncryptionKeys(config));
  const { database, close } = await connectDatabase(config, createCommandLogger('warn'));
  try {
    if ((await readWorkspace(database, options.workspace)) === null)
      throw notFound(`No workspace ${options.workspace} has the app installed`);
    const projects = (await listProjects(database, options.workspace)).filter(
      ({ projectId, revenueCatProjectId }) =>
        options.project === undefined || [projectId, revenueCatProjectId].includes(options.project),
    );
    if (options.project !== undefined && projects.length === 0)
      throw notFound(`Workspace ${options.workspace} has no project ${options.project}`);
    const total: Reinterpreted = { unchanged: 0, corrected: 0, added: 0, failed: 0 };
    for (const project of projects) {
      const counts = await reinterpret(database, project, { secrets, sinceMs, nowMs: Date.now() });
      for (const name of Object.keys(total) as (keyof Reinterpreted)[]) total[name] += counts[name];
    }
    process.stdout.write(
      options.json
        ? `${JSON.stringify(total)}\n`
        : `${total.unchanged} webhooks unchanged, ${total.corrected} corrected, ${total.added} added, ${total.failed} failed.\n`,
    );
  } finally {
    await close();
  }
}
