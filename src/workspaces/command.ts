import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { connectDatabase } from '../database/connection.ts';
import { createCommandLogger } from '../logger.ts';
import { createSecretBox, rotateKeys } from './secrets.ts';

/** `rotate-keys`: the second step of a change of keys, safe while the server runs. */
export function addRotateKeysCommand(
  program: Command,
  read: { readonly config: () => Config; readonly keys: (config: Config) => Promise<readonly Buffer[]> },
): void {
  program
    .command('rotate-keys')
    .description('seal every stored secret again with the first of ENCRYPTION_KEYS')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      const config = read.config();
      const connected = await connectDatabase(config, createCommandLogger('warn'));
      try {
        const secrets = createSecretBox(await read.keys(config));
        const { rotated, unreadable } = await rotateKeys(connected.database, secrets);
        process.stdout.write(
          options.json
            ? `${JSON.stringify({ rotated: rotated, unreadable: unreadable.length })}\n`
            : `${rotated} secrets sealed again with the first key.\n`,
        );
        if (unreadable.length > 0) {
          for (const { workspaceId, secret } of unreadable)
            process.stderr.write(`No key opens ${secret} of workspace ${workspaceId}.\n`);
          process.stderr.write(
            'Add the key that sealed them to ENCRYPTION_KEYS and run this again, or have the admin of each workspace enter them again.\n',
          );
          process.exitCode = 1;
        } else if (!options.json) {
          process.stdout.write('The other keys are no longer needed.\n');
        }
      } finally {
        await connected.close();
      }
    });
}
