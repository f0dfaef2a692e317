import { externalLink, isSafeAddress } from './dom.js';
import { emojiNodes } from './emoji.js';

const MARKS = /\*\*(?<bold>[^\n]+?)\*\*|\[(?<label>[^\]\n]+)\]\((?<address>(?:[^()\s]|\([^()\s]*\))+)\)/g;

/**
 * Canvas Kit's text supports bold and links, nothing else.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function markdownNodes(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(MARKS)) {
    const { bold, label, address } = match.groups;
    if (match.index > end) nodes.push(...emojiNodes(text.slice(end, match.index)));
    if (bold !== undefined) {
      const strong = document.createElement('strong');
      strong.append(...markdownNodes(bold));
      nodes.push(strong);
    } else if (isSafeAddress(address)) {
      nodes.push(externalLink(address, {}, ...markdownNodes(label)));
    } else {
      nodes.push(match[0]);
    }
    end = match.index + match[0].length;
  }
  if (end < text.length) nodes.push(...emojiNodes(text.slice(end)));
  return nodes;
}
