import { element, icon } from './dom.js';

const SQUARE =
  'M3 1.5h10A1.5 1.5 0 0 1 14.5 3v10a1.5 1.5 0 0 1-1.5 1.5H3A1.5 1.5 0 0 1 1.5 13V3A1.5 1.5 0 0 1 3 1.5z';

/** The marks of texts as shapes of 16 × 16, with their color; inner outlines are holes. */
const SHAPES = {
  '✅': [`${SQUARE}M3.6 8.3 6.8 11.6 12.6 5.4 11.3 4.2 6.8 9 4.9 7z`, '#1f9d55'],
  '⚠️': ['M8 .8 15.6 14.6H.4zM7.2 5.4V10h1.6V5.4zM7.2 11.2v1.7h1.6v-1.7z', '#d97706'],
  '⛔': ['M8 .8a7.2 7.2 0 1 1 0 14.4A7.2 7.2 0 0 1 8 .8zM3.4 6.6v2.8h9.2V6.6z', '#dc2626'],
  '⏸': [`${SQUARE}M4.8 4.2v7.6h2.2V4.2zM9 4.2v7.6h2.2V4.2z`, '#4f6bd8'],
  '🟦': [SQUARE, '#3b82f6'],
  '🟩': [SQUARE, '#22a35a'],
  '🟨': [SQUARE, '#f5b301'],
  '⬜': [SQUARE, '#c3c8d0'],
  '🟪': [SQUARE, '#9b51e0'],
  '●': ['M8 3.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z', 'currentColor'],
  '◆': ['M8 2 14 8 8 14 2 8z', 'currentColor'],
  '▲': ['M8 2.5 14 13.5H2z', 'currentColor'],
  '✕': ['M3.4 2 8 6.6 12.6 2 14 3.4 9.4 8 14 12.6 12.6 14 8 9.4 3.4 14 2 12.6 6.6 8 2 3.4z', 'currentColor'],
};
/** A mark, with a word that a no-break space ties to it. */
const MARKS = new RegExp(`(${Object.keys(SHAPES).join('|')})(\u00a0\\S+)?`, 'g');

/**
 * Draws the marks, because a system without an emoji font shows a gap in their place. The text stays the same.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function emojiNodes(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(MARKS)) {
    const [all, mark, word] = match;
    if (match.index > end) nodes.push(text.slice(end, match.index));
    const [path, color] = SHAPES[mark];
    const hidden = element('span', { class: 'visually-hidden' }, mark);
    nodes.push(element('span', { class: 'marked' }, icon(path, 'emoji', color), hidden, word));
    end = match.index + all.length;
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}
