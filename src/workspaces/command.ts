import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { connectDatabase } from '../database/connection.ts';
import { createLogger } from '../log.ts';
import { resealSecrets } from './reseal.ts';
import { createSecretBox } from './secrets.ts';

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
      const connected = await connectDatabase(config, createLogger('warn'));
      try {
        const secrets = createSecretBox(await read.keys(config));
        const sealed = await resealSecrets(connected.database, secrets);
        process.stdout.write(
          options.json
            ? `${JSON.stringify({ sealed_again: sealed })}\n`
            : `${sealed} secrets sealed again with the first key. The other keys are no longer needed.\n`,
        );
      } finally {
        await connected.close();
      }
    });
}
