import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SENTENCES_PAGE, sentencesPage } from '../../scripts/sentences.ts';

test('docs/sentences.md is what `node scripts/sentences.ts` writes', () => {
  assert.equal(readFileSync(SENTENCES_PAGE, 'utf8'), sentencesPage());
});
