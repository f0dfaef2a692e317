import { element, externalLink, isSafeAddress } from './dom.js';

const KEPT = new Set(['P', 'B', 'STRONG', 'I', 'EM', 'UL', 'OL', 'LI', 'CODE', 'BLOCKQUOTE', 'BR']);
const DROPPED = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'IFRAME', 'OBJECT', 'NOSCRIPT']);

/**
 * Intercom's messages are HTML. They are parsed into a document without scripts or loading, and only the
 * known formatting is rebuilt, without attributes.
 * @param {string} html
 * @returns {(Node | string)[]}
 */
export function messageNodes(html) {
  const parsed = new DOMParser().parseFromString(html, 'text/html');
  return rebuild(parsed.body);
}

/** @param {Node} parent */
function rebuild(parent) {
  const nodes = [];
  for (const child of parent.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) nodes.push(child.textContent ?? '');
    if (child.nodeType !== Node.ELEMENT_NODE || DROPPED.has(child.nodeName)) continue;
    const address = child.nodeName === 'A' ? child.getAttribute('href') : null;
    if (isSafeAddress(address)) nodes.push(externalLink(address, {}, ...rebuild(child)));
    else if (KEPT.has(child.nodeName))
      nodes.push(element(child.nodeName.toLowerCase(), {}, ...rebuild(child)));
    else nodes.push(...rebuild(child));
  }
  return nodes;
}
