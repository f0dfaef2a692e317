import type { Canvas, CanvasComponent } from './canvas-rules.ts';

const UNIT = '(?:second|minute|hour|day|week|month|year)s?';
const RELATIVE_DATE = new RegExp(
  [
    // Does not match "ago" alone, which is short for August in Spanish and Portuguese.
    `\\b(?:${UNIT}|while) ago\\b`,
    '\\b(?:yesterday|today|tomorrow|just now|recently)\\b',
    `\\bin (?:a|an|\\d+|a few) ${UNIT}\\b`,
    `\\b\\d+ ${UNIT} (?:left|remaining)\\b`,
    `\\b(?:last|next|this) (?:week|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\\b`,
  ].join('|'),
  'i',
);
const NAVIGATION = /^(?:back|cancel|done|home|close|ok)\b/i;

/**
 * Finds what Intercom's reviewers reject although Intercom can draw it; empty: nothing found. Does not check the height
 * of the first canvas (400 px), which only a browser can measure.
 *
 * Source: Intercom, "Canvas Kit: Inbox best practices".
 *
 * @param options.first whether this is the canvas that opens with the conversation
 */
export function reviewFindings(canvas: Canvas, options: { first: boolean }): string[] {
  const components = canvas.content?.components ?? [];
  const findings: string[] = [];
  for (const each of components) {
    // A button without a style is drawn as primary.
    if (each.type === 'button' && (each.style ?? 'primary') === 'primary') {
      if (options.first) findings.push(`primary button "${each.label}" on the first canvas`);
      else if (NAVIGATION.test(each.label)) findings.push(`primary button "${each.label}" for navigation`);
    }
    if ((each.type === 'list' || each.type === 'data-table') && each.items.length === 0) {
      findings.push(`a ${each.type} without items shows nothing`);
    }
    for (const text of textsOf(each)) {
      const relative = RELATIVE_DATE.exec(text)?.[0];
      if (relative !== undefined) findings.push(`relative date "${relative}" in "${text}"`);
      if (/<\/?[a-z][^>]*>/i.test(text)) findings.push(`HTML is shown as it is: "${text}"`);
    }
    if (each.type === 'text') {
      const quiet = each.style === 'muted' || each.style === 'error';
      if (each.align === 'center' || (quiet && (each.align ?? 'left') !== 'left')) {
        findings.push(`text is not left-aligned: "${each.text}"`);
      }
    }
  }
  if (!options.first && canvas.content_url === undefined && !hasWayBack(components)) {
    findings.push('no way back: a dead end');
  }
  return findings;
}

function hasWayBack(components: readonly CanvasComponent[]): boolean {
  return components.some(
    (each) =>
      each.type === 'button' &&
      !each.disabled &&
      each.action.type === 'submit' &&
      (each.id === 'home' || each.style === 'link' || NAVIGATION.test(each.label)),
  );
}

function textsOf(each: CanvasComponent): string[] {
  switch (each.type) {
    case 'text':
      return [each.text];
    case 'button':
      return [each.label];
    case 'list':
      return each.items.flatMap((item) => [item.title, item.subtitle ?? '', item.tertiary_text ?? '']);
    case 'data-table':
      return each.items.flatMap((item) => [item.field, item.value]);
    case 'dropdown':
    case 'single-select':
      return [each.label ?? '', ...each.options.map((option) => option.text)];
    case 'input':
    case 'textarea':
      return [each.label ?? ''];
    default:
      return [];
  }
}
