import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');

function lines(path: string): string[] {
  return readFileSync(join(ROOT, path), 'utf8').split('\n');
}

it('the build of the image gets each file that the Containerfile copies, and no others', () => {
  const copied = lines('Containerfile')
    .filter((line) => line.startsWith('COPY '))
    .flatMap((line) => line.split(' ').slice(1, -1));
  const letThrough = lines('.dockerignore').filter((line) => line.startsWith('!'));

  assert.ok(lines('.dockerignore').includes('*'), 'all else is ignored');
  assert.deepEqual(letThrough.map((line) => line.slice(1)).sort(), copied.sort());
  for (const path of copied) assert.ok(existsSync(join(ROOT, path)), path);
});
