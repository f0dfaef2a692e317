import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { canvas, escapeMarkdown, item, list, text } from '../../src/intercom/canvas.ts';

describe('a canvas', () => {
  test('leaves out what reorders or hides text, whichever way JSON writes it, and finds what is pressed', () => {
    for (const mark of ['\b', '\f', '\r', '\u0000', '\u007f', '\u200f', '\u202e']) {
      const built = canvas([text(`Pro${mark} monthly`), list([item(`event:a${mark}b`, `Renewed${mark}`)])]);
      assert.deepEqual(built.content.components, [
        text('Pro monthly'),
        list([item(`event:a${mark}b`, 'Renewed')]),
      ]);
    }
    const kept = canvas([text('One\nline\tand "C:\\u00\\b"')]);
    assert.deepEqual(kept.content.components, [text('One\nline\tand "C:\\u00\\b"')]);
  });

  test("makes no link and no bold text of a customer's words, also where stripping joins them", () => {
    const words = escapeMarkdown('[Refund]\u202e(https://evil.example) *\u200f*free*\u0007*');
    const [shown] = canvas([text(words)]).content.components;
    assert.doesNotMatch(JSON.stringify(shown), /\]\(|\*\*/);
  });
});
