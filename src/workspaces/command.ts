import type { Command } from 'commander';
import { loadCommandConfig } from '../config.ts';
import { connectDatabase } from '../database/connection.ts';
import { createCommandLogger } from '../logger.ts';
import { connectProject } from './projects.ts';
import { createSecretBox, loadEncryptionKeys, rotateKeys } from './secrets.ts';

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
    .action(connect);
}

async function connect(options: ConnectOptions): Promise<void> {
  const config = loadCommandConfig();
  const { database, close } = await connectDatabase(config, createCommandLogger('warn'));
  try {
    const secrets = createSecretBox(await loadEncryptionKeys(config));
    const { id, webhookUrl, webhookAuthorization } = await connectProject(
      { database, secrets, publicUrl: config.publicUrl },
      {
        workspaceId: options.workspace,
        revenueCatProjectId: options.project,
        apiKey: options.key,
        name: options.name ?? null,
      },
    );
    process.stdout.write(
      options.json
        ? `${JSON.stringify({ id, webhook_url: webhookUrl, webhook_authorization: webhookAuthorization })}\n`
        : `Connected as ${id}.
In RevenueCat, add a webhook:
  URL            ${webhookUrl}
  Authorization  ${webhookAuthorization}
The authorization value is not shown again.
`,
    );
  } finally {
    await close();
  }
}

/** `rotate-keys`: the second step of a change of keys, safe while the server runs. */
export function addRotateKeysCommand(program: Command): void {
  program
    .command('rotate-keys')
    .description('encrypt every stored secret again with the first of ENCRYPTION_KEYS')
    .option('--json', 'print JSON')
    .action(rotate);
}

async function rotate({ json }: { json?: boolean }): Promise<void> {
  const config = loadCommandConfig();
  const { database, close } = await connectDatabase(config, createCommandLogger('warn'));
  try {
    const secrets = createSecretBox(await loadEncryptionKeys(config));
    const { rotated, unreadable } = await rotateKeys(database, secrets);
    process.stdout.write(
      json
        ? `${JSON.stringify({ rotated, unreadable: unreadable.length })}\n`
        : `${rotated} secrets encrypted again with the first key.\n`,
    );
    if (unreadable.length === 0) {
      if (!json) process.stdout.write('The other keys are no longer needed.\n');
      return;
    }
    for (const { workspaceId, secret } of unreadable)
      process.stderr.write(`No key decrypts ${secret} of workspace ${workspaceId}.\n`);
    process.stderr.write(
      'Add the key that encrypted them to ENCRYPTION_KEYS and run this again, or have the admin of each workspace enter them again.\n',
    );
    process.exitCode = 1;
  } finally {
    await close();
  }
}
