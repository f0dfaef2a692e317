import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reviewFindings } from '../../src/simulator/intercom/canvas-review.ts';
import { type CanvasRequest, validateCanvas } from '../../src/simulator/intercom/canvas-rules.ts';

const submit = { type: 'submit' };
const options = (count: number) =>
  Array.from({ length: count }, (_, at) => ({ type: 'option', id: `o${at}`, text: `O${at}` }));
const canvas = (...components: unknown[]) => ({ canvas: { content: { components } } });
const button = { type: 'button', id: 'b', label: 'B', action: submit };
const item = { type: 'item', id: 'i', title: 'T' };
const inbox: CanvasRequest = { place: 'inbox', flow: 'initialize' };

const cases: [string, unknown, string | null, CanvasRequest?][] = [
  [
    'every component',
    canvas(
      { type: 'text', text: 'Hi', style: 'muted', bottom_margin: 'none' },
      button,
      { type: 'input', id: 'in', action: submit },
      { type: 'textarea', id: 'ta' },
      { type: 'dropdown', id: 'd', options: options(10), value: 'o1' },
      { type: 'single-select', id: 's', options: options(2) },
      { type: 'checkbox', id: 'c', label: '', option: options(1) },
      { type: 'list', items: [{ ...item, image: 'https://x.test/a.png', image_width: 1, image_height: 1 }] },
      { type: 'data-table', items: [{ type: 'field-value', field: 'a', value: 'b' }] },
      { type: 'divider' },
      { type: 'spacer', size: 'xs' },
      { type: 'image', url: 'https://x.test/a.png', width: 1, height: 1 },
    ),
    null,
  ],
  ['unknown type', canvas({ type: 'iframe' }), 'components.0'],
  ['unknown key', canvas({ ...button, color: 'red' }), 'color'],
  ['no action', canvas({ type: 'button', id: 'b', label: 'B' }), 'action'],
  ['one option', canvas({ type: 'dropdown', id: 'd', options: options(1) }), 'at least 2'],
  ['eleven options', canvas({ type: 'single-select', id: 'd', options: options(11) }), 'more than 10'],
  [
    'dropdown with an action',
    canvas({ type: 'dropdown', id: 'd', options: options(2), action: submit }),
    'action',
  ],
  [
    'unknown value',
    canvas({ type: 'dropdown', id: 'd', options: options(2), value: 'x' }),
    'none of the options',
  ],
  ['same id twice', canvas(button, { type: 'list', items: [{ ...item, id: 'b' }] }), 'used twice'],
  [
    'image without size',
    canvas({ type: 'list', items: [{ ...item, image: 'https://x.test/a.png' }] }),
    'image_width',
  ],
  ['image over http', canvas({ type: 'image', url: 'http://x.test/a.png', width: 1, height: 1 }), 'url'],
  [
    'sheet in the inbox',
    canvas({ ...button, action: { type: 'sheet', url: 'https://x.test' } }),
    'Messenger only',
  ],
  ['live in the inbox', { canvas: { content_url: 'https://x.test' } }, 'Messenger only'],
  [
    'live in the Messenger',
    { canvas: { content_url: 'https://x.test' } },
    null,
    { place: 'messenger', flow: 'initialize' },
  ],
  ['live answer', { content: { components: [button] } }, null, { place: 'messenger', flow: 'live' }],
  ['live answer, wrapped', canvas(button), 'content', { place: 'messenger', flow: 'live' }],
  ['neither content nor url', { canvas: {} }, 'either'],
  ['large content', canvas({ type: 'text', text: 'x'.repeat(65_536) }), '64 KB'],
  [
    'large stored_data',
    { canvas: { content: { components: [] }, stored_data: { x: 'x'.repeat(65_536) } } },
    '64 KB',
  ],
  ['stored_data list', { canvas: { content: { components: [] }, stored_data: [] } }, 'stored_data'],
  [
    'event on submit',
    { ...canvas(button), event: { type: 'completed' } },
    null,
    { place: 'inbox', flow: 'submit' },
  ],
  ['event on initialize', { ...canvas(button), event: { type: 'completed' } }, 'event'],
  [
    'card options in the Messenger',
    { ...canvas(button), card_creation_options: {} },
    'card_creation_options',
    { place: 'messenger', flow: 'submit' },
  ],
];

for (const [name, answer, problem, where] of cases) {
  test(`canvas: ${name}`, () => {
    const verdict = validateCanvas(answer, where ?? inbox);
    if (problem === null) return assert.deepEqual(verdict.ok ? [] : verdict.problems, []);
    assert.ok(
      !verdict.ok && verdict.problems.some((each) => each.includes(problem)),
      JSON.stringify(verdict),
    );
  });
}

const text = (value: string, extra: object = {}) => ({ type: 'text', text: value, ...extra });
const reviews: [string, unknown[], boolean, string | null][] = [
  ['primary on the first canvas', [button], true, 'primary'],
  ['relative date', [text('Renewed 3 days ago')], true, 'relative'],
  ['relative future', [text('Renews in 3 days')], true, 'relative'],
  ['absolute date', [text('Next charge Jan 8, 2027. Granted for 3 days.')], true, null],
  ['centred text', [text('Nothing', { align: 'center' })], true, 'left-aligned'],
  ['list of nothing', [{ type: 'list', items: [] }], true, 'without items'],
  ['dead end', [text('Done')], false, 'dead end'],
  ['way back', [{ ...button, id: 'home', style: 'link' }], false, null],
];

for (const [name, components, first, finding] of reviews) {
  test(`review: ${name}`, () => {
    const verdict = validateCanvas(canvas(...components), inbox);
    assert.ok(verdict.ok);
    const findings = reviewFindings(verdict.canvas, { first });
    if (finding === null) assert.deepEqual(findings, []);
    else
      assert.ok(
        findings.some((each) => each.includes(finding)),
        findings.join(),
      );
  });
}
