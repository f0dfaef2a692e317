import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Request } from 'express';
import pino from 'pino';
import { canvas, escapeMarkdown, input, item, list, text } from '../../src/intercom/canvas.ts';
import { drawInTime } from '../../src/intercom/draw-in-time.ts';

describe('a canvas', () => {
  test('leaves out what reorders or hides text, whichever way JSON writes it, and finds what is pressed', () => {
    for (const mark of ['\b', '\f', '\r', '\u0000', '\u007f', '\u200f', '\u202e']) {
      const built = canvas([text(`Pro${mark} monthly`), list([item(`event:a${mark}b`, `Renewed${mark}`)])]);
      assert.deepEqual(built.content.components, [
        text('Pro monthly'),
        list([item(`event:a${mark}b`, 'Renewed')]),
      ]);
    }
    const blank = canvas([
      text('\u202e'),
      list([item('event:a', '\u200f\u0007')]),
      input({ id: 'a', label: 'A' }),
    ]);
    const shown = [text('–'), list([item('event:a', '–')]), input({ id: 'a', label: 'A' })];
    assert.deepEqual(blank.content.components, shown);
    const kept = canvas([text('One\nline\tand "C:\\u00\\b"')]);
    assert.deepEqual(kept.content.components, [text('One\nline\tand "C:\\u00\\b"')]);
  });

  test('is refused when Intercom would refuse it: above 64 KB, counted in bytes', () => {
    const half = 'é'.repeat(32_000 - 50);
    canvas([text(half)], { note: half });
    for (const longer of ['é'.repeat(32_000), 'é'.repeat(60 * 1024)]) {
      assert.throws(() => canvas([text(longer)]), /64 KB/);
      assert.throws(() => canvas([], { note: longer }), /64 KB/);
    }
  });

  test("makes no link and no bold text of a customer's words, also where stripping joins them", () => {
    const words = escapeMarkdown('[Refund]\u202e(https://evil.example) *\u200f*free*\u0007*');
    const [shown] = canvas([text(words)]).content.components;
    assert.doesNotMatch(JSON.stringify(shown), /\]\(|\*\*/);
  });
});

test('a card that is not drawn in time says that it is slow', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lines: string[] = [];
  const drawn = drawInTime(new Promise<string>(() => {}), { headers: {} } as Request, {
    place: 'inbox',
    logger: pino({ base: null }, { write: (line: string) => void lines.push(line) }),
    workspaceId: 'w',
    componentId: 'timeline',
    fallback: (problem) => problem,
  });
  t.mock.timers.tick(4_500);
  assert.equal(await drawn, 'slow');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)).map(({ level, component }) => [level, component]),
    [[pino.levels.values.warn, 'timeline']],
  );
});

test('a card that fails is an error in the log, and a warning while the database is unavailable', async () => {
  const levels: number[] = [];
  const write = (line: string): void => void levels.push(JSON.parse(line).level);
  const card = {
    place: 'inbox',
    logger: pino({ base: null }, { write }),
    workspaceId: 'w',
    componentId: null,
    fallback: () => 'short card',
  } as const;
  for (const code of ['ECONNREFUSED', '57P01', '42703']) {
    const failing = Promise.reject(Object.assign(new Error('failed'), { code }));
    assert.equal(await drawInTime(failing, { headers: {} } as Request, card), 'short card');
  }
  const { warn, error } = pino.levels.values;
  assert.deepEqual(levels, [warn, warn, error]);
});
