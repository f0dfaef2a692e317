import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

export interface NextVersion {
  readonly folder: string;
  remove(): Promise<void>;
}

/** Installs this version with one more migration in a separate folder, as an operator installs a new version. */
export async function makeNextVersion(): Promise<NextVersion> {
  const folder = await mkdtemp(join(tmpdir(), 'subscription-timeline-next-'));
  for (const part of ['src', 'locales', 'migrations', 'package.json'])
    await cp(join(ROOT, part), join(folder, part), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  await mkdir(join(folder, 'docs'));
  await symlink(join(ROOT, 'docs/legal'), join(folder, 'docs/legal'));
  const migration = join(folder, 'migrations/9000_next_version');
  await writeFile(
    `${migration}.up.sql`,
    `alter table subscribers add column next_version text not null default 'yes';
     create index subscribers_next_version on subscribers (workspace_id, next_version);`,
  );
  await writeFile(`${migration}.down.sql`, 'alter table subscribers drop column next_version;');
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}
