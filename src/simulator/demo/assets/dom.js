/**
 * Builds elements from data. Text only ever becomes a text node, so nothing that a customer, a teammate or
 * the app wrote can turn into markup.
 */

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] `class`, `dataset`, `on<event>` handlers, booleans and attributes
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'dataset') Object.assign(node.dataset, value);
    else if (typeof value === 'function') node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children) if (child || child === '') node.append(child);
  return node;
}

/**
 * Draws a part of a page again only when its data has changed, so that a poll keeps focus and selection.
 * @param {Map<string, string>} shown what each part shows now
 * @returns {(part: string, data: unknown, draw: () => void) => void}
 */
export function redrawer(shown) {
  return (part, data, draw) => {
    const text = JSON.stringify(data);
    if (shown.get(part) === text) return;
    shown.set(part, text);
    draw();
  };
}

/** @param {unknown} address */
export function isSafeAddress(address) {
  if (typeof address !== 'string') return false;
  try {
    return ['http:', 'https:', 'mailto:'].includes(new URL(address).protocol);
  } catch {
    return false;
  }
}

/**
 * @param {string} address
 * @param {Record<string, unknown>} properties
 * @param {...(Node | string)} children
 */
export function externalLink(address, properties, ...children) {
  return element(
    'a',
    { ...properties, href: address, target: '_blank', rel: 'noopener noreferrer' },
    ...children,
    element('span', { class: 'visually-hidden' }, ' (opens in a new tab)'),
  );
}

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {string} path
 * @param {string} name
 * @param {string} [fill] a color; without one the style sheet decides
 */
export function icon(path, name = 'icon', fill = undefined) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', name);
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('aria-hidden', 'true');
  const shape = document.createElementNS(SVG, 'path');
  shape.setAttribute('d', path);
  if (fill !== undefined) shape.setAttribute('fill', fill);
  svg.append(shape);
  return svg;
}
