import type { Command } from 'commander';
import { printResult } from '../logger.ts';
import { plural } from '../text.ts';
import { auditAdmin, COMMAND_LINE } from './audit.ts';
import { type CommandContext, withCommandContext } from './command-context.ts';
import { connectProject, wakeCustomers } from './project-connection.ts';
import { rotateKeys } from './secrets.ts';

interface ConnectOptions {
  readonly workspace: string;
  readonly project: string;
  readonly key: string;
  readonly name?: string;
  readonly json?: boolean;
}

export function addConnectCommand(program: Command): void {
  program
    .command('connect')
    .description('connect a RevenueCat project to a workspace')
    .requiredOption('--workspace <id>', 'Intercom workspace ID')
    .requiredOption('--project <id>', 'RevenueCat project ID (proj…)')
    .requiredOption('--key <key>', 'RevenueCat secret API key, version 2 (sk_…)')
    .option('--name <text>', 'name shown to people')
    .option('--json', 'print JSON')
    .action((options: ConnectOptions) => withCommandContext((context) => connect(context, options)));
}

async function connect(context: CommandContext, options: ConnectOptions): Promise<void> {
  const { workspace: workspaceId, project, key, name = null } = options;
  const { id, webhookUrl, webhookAuthorization } = await connectProject(
    { ...context, publicUrl: context.config.publicUrl },
    { workspaceId, revenueCatProjectId: project, apiKey: key, name },
  );
  await wakeCustomers(context, { workspaceId, projectId: id });
  const record = { action: 'revenuecat_connected', details: { project: name ?? project } };
  await auditAdmin(context.database, { workspaceId, admin: COMMAND_LINE }, record);
  printResult(
    options.json,
    { id, webhook_url: webhookUrl, webhook_authorization: webhookAuthorization },
    `Connected as ${id}.
In RevenueCat, add a webhook:
  URL            ${webhookUrl}
  Authorization  ${webhookAuthorization}
The authorization value is not shown again.`,
  );
}

/** `rotate-keys`: the second step of a change of keys, safe while the server runs. */
export function addRotateKeysCommand(program: Command): void {
  program
    .command('rotate-keys')
    .description('encrypt every stored secret again with the first of ENCRYPTION_KEYS')
    .option('--json', 'print JSON')
    .action((options: { json?: boolean }) => withCommandContext((context) => rotate(context, options)));
}

async function rotate({ database, secrets }: CommandContext, { json }: { json?: boolean }): Promise<void> {
  const { rotated, unreadable } = await rotateKeys(database, secrets);
  const done = `${plural(rotated, 'secret')} encrypted again with the first key.`;
  const advice = unreadable.length === 0 ? '\nThe other keys are no longer needed.' : '';
  printResult(json, { rotated, unreadable: unreadable.length }, done + advice);
  if (unreadable.length === 0) return;
  for (const { workspaceId, secret } of unreadable)
    process.stderr.write(`No key decrypts ${secret} of workspace ${workspaceId}.\n`);
  process.stderr.write(
    'Add the key that encrypted them to ENCRYPTION_KEYS and run this again, or have the admin of each workspace enter them again.\n',
  );
  process.exitCode = 1;
}
