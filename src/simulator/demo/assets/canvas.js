import { element, externalLink, icon, isSafeAddress } from './dom.js';
import { markdownNodes } from './markdown.js';

/**
 * Draws a Canvas Kit canvas as the inbox does: the twelve components, one below the other, as real form
 * controls.
 */

const CHEVRON = 'M6 3.5 10.5 8 6 12.5';
const TICK = 'M3 8.5 6.5 12 13 4.5';

/**
 * @typedef {object} CanvasView
 * @property {HTMLElement} root
 * @property {() => Record<string, unknown>} readValues every interactive component's value
 */

/**
 * @param {{components?: unknown}} content
 * @param {(componentId: string, control: HTMLElement) => void} onSubmit
 * @returns {CanvasView}
 */
export function drawCanvas(content, onSubmit) {
  drawings += 1;
  const drawing = { onSubmit, readers: new Map(), prefix: `canvas-${drawings}` };
  const components = Array.isArray(content?.components) ? content.components : [];
  const root = element('div', { class: 'canvas' }, ...components.map((each) => drawComponent(each, drawing)));
  return {
    root,
    readValues: () => {
      const values = {};
      for (const [id, read] of drawing.readers) {
        const value = read();
        if (value !== undefined) values[id] = value;
      }
      return values;
    },
  };
}

let drawings = 0;

function drawComponent(component, drawing) {
  const draw = Object.hasOwn(DRAWERS, component?.type) ? DRAWERS[component.type] : null;
  if (draw === null) {
    return element('div', { class: 'unknown-component' }, `Unknown component: ${String(component?.type)}`);
  }
  const node = draw(component, drawing);
  node.classList.add('component', `component-${component.type}`);
  if (component.bottom_margin === 'none') node.classList.add('no-bottom-margin');
  if (component.save_state) node.classList.add(`is-${component.save_state}`);
  if (component.id !== undefined) node.dataset.componentId = component.id;
  return node;
}

const DRAWERS = {
  text: drawText,
  button: drawButton,
  input: drawInput,
  textarea: drawTextarea,
  dropdown: drawDropdown,
  'single-select': drawSingleSelect,
  checkbox: drawCheckbox,
  list: drawList,
  'data-table': drawDataTable,
  divider: () => element('hr'),
  spacer: (component) => element('div', { class: `spacer-${component.size ?? 's'}`, 'aria-hidden': 'true' }),
  image: drawImage,
};

function drawText(component) {
  const style = component.style ?? 'paragraph';
  const properties = { class: `text-${style} align-${component.align ?? 'left'}` };
  return element(style === 'header' ? 'h4' : 'p', properties, ...markdownNodes(String(component.text ?? '')));
}

function drawButton(component, drawing) {
  const style = component.style ?? 'primary';
  const control = actionControl(
    component,
    drawing,
    { class: `button button-${style}` },
    component.label ?? '',
  );
  return element('div', {}, control);
}

/** A link for a URL action, a button for a submit; the same look either way. */
function actionControl(component, drawing, properties, ...children) {
  const { action } = component;
  if (component.disabled || !action) {
    return element('button', { ...properties, type: 'button', disabled: true }, ...children);
  }
  if (action.type === 'url' && isSafeAddress(action.url)) {
    return externalLink(action.url, properties, ...children);
  }
  if (action.type !== 'submit') {
    return element('button', { ...properties, type: 'button', disabled: true }, ...children);
  }
  const submit = (event) => drawing.onSubmit(component.id, event.currentTarget);
  return element('button', { ...properties, type: 'button', onclick: submit }, ...children);
}

function isLocked(component) {
  return component.save_state === 'saved' || component.disabled === true;
}

function controlId(component, drawing) {
  return `${drawing.prefix}-${component.id}`;
}

/** A control without a label still needs a name for screen readers. */
function naming(component) {
  return component.label ? {} : { 'aria-label': component.placeholder ?? component.id };
}

function labelFor(component, drawing) {
  if (!component.label) return null;
  return element('label', { class: 'label', for: controlId(component, drawing) }, component.label);
}

function savedMark(component) {
  if (component.save_state !== 'saved') return null;
  return element('span', { class: 'saved-mark', role: 'img', 'aria-label': 'Saved' }, icon(TICK));
}

function drawInput(component, drawing) {
  const submit = (control) => drawing.onSubmit(component.id, control);
  const hasAction = component.action && !isLocked(component);
  const input = element('input', {
    ...naming(component),
    id: controlId(component, drawing),
    class: 'field',
    type: 'text',
    autocomplete: 'off',
    placeholder: component.placeholder,
    value: component.value,
    disabled: isLocked(component),
    'aria-invalid': component.save_state === 'failed' ? 'true' : null,
    onkeydown: (event) => {
      if (event.key === 'Enter' && hasAction && !event.isComposing) submit(event.currentTarget);
    },
  });
  drawing.readers.set(component.id, () => input.value);
  const inline =
    hasAction &&
    element(
      'button',
      {
        type: 'button',
        class: 'inline-action',
        'aria-label': `Submit ${component.label ?? component.placeholder ?? component.id}`,
        onclick: (event) => submit(event.currentTarget),
      },
      icon(CHEVRON),
    );
  const row = element('div', { class: 'field-row' }, input, inline, savedMark(component));
  return element('div', {}, labelFor(component, drawing), row);
}

function drawTextarea(component, drawing) {
  const area = element('textarea', {
    ...naming(component),
    id: controlId(component, drawing),
    class: 'field',
    rows: 3,
    placeholder: component.placeholder,
    disabled: isLocked(component),
    'aria-invalid': component.error ? 'true' : null,
  });
  area.value = component.value ?? '';
  drawing.readers.set(component.id, () => area.value);
  return element('div', {}, labelFor(component, drawing), area);
}

function drawDropdown(component, drawing) {
  const select = element('select', {
    ...naming(component),
    id: controlId(component, drawing),
    class: 'field',
    disabled: isLocked(component),
    'aria-invalid': component.save_state === 'failed' ? 'true' : null,
  });
  if (component.value === undefined || component.value === null) {
    select.append(element('option', { value: '', disabled: true, selected: true, hidden: true }, 'Select…'));
  }
  for (const option of component.options ?? []) {
    const { id, text, disabled } = option;
    select.append(element('option', { value: id, disabled, selected: id === component.value }, text));
  }
  drawing.readers.set(component.id, () => (select.value === '' ? undefined : select.value));
  const row = element('div', { class: 'field-row select-row' }, select, savedMark(component));
  return element('div', {}, labelFor(component, drawing), row);
}

function drawSingleSelect(component, drawing) {
  const name = controlId(component, drawing);
  let chosen = component.value;
  drawing.readers.set(component.id, () => chosen);
  const chips = (component.options ?? []).map((option) => {
    const disabled = isLocked(component) || option.disabled === true;
    const isChosen = option.id === component.value;
    if (component.action) {
      // Arrow keys change a radio immediately, and each change would submit; a button waits for its click.
      const choose = (event) => {
        chosen = option.id;
        drawing.onSubmit(component.id, event.currentTarget);
      };
      return element(
        'button',
        { type: 'button', class: 'chip', disabled, 'aria-pressed': String(isChosen), onclick: choose },
        option.text,
      );
    }
    const choose = () => {
      chosen = option.id;
    };
    const radio = { type: 'radio', name, value: option.id, disabled, checked: isChosen, onchange: choose };
    return element('label', { class: 'chip' }, element('input', radio), element('span', {}, option.text));
  });
  const legend = component.label && element('legend', { class: 'label' }, component.label);
  return element(
    'fieldset',
    component.label ? {} : { 'aria-label': component.id },
    legend,
    element('div', { class: 'chips' }, ...chips),
  );
}

function drawCheckbox(component, drawing) {
  const options = component.option ?? component.options ?? [];
  const chosen = new Set(component.value ?? []);
  const boxes = options.map((option) =>
    element('input', {
      type: 'checkbox',
      value: option.id,
      checked: chosen.has(option.id),
      disabled: isLocked(component) || option.disabled === true,
      'aria-invalid': component.save_state === 'failed' ? 'true' : null,
    }),
  );
  drawing.readers.set(component.id, () => boxes.filter((box) => box.checked).map((box) => box.value));
  const rows = options.map((option, index) =>
    element('label', { class: 'check' }, boxes[index], element('span', {}, option.text)),
  );
  const legend = component.label && element('legend', { class: 'label' }, component.label);
  return element('fieldset', component.label ? {} : { 'aria-label': component.id }, legend, ...rows);
}

function drawList(component, drawing) {
  const rows = (component.items ?? []).map((item) => {
    const disabled = component.disabled === true || item.disabled === true;
    const image =
      isSafeAddress(item.image) &&
      element('img', {
        src: proxied(item.image),
        alt: '',
        width: item.image_width,
        height: item.image_height,
        class: item.rounded_image ? 'rounded' : null,
      });
    const words = element(
      'span',
      { class: 'item-words' },
      element('span', { class: 'item-title' }, item.title ?? ''),
      item.subtitle && element('span', { class: 'item-subtitle' }, item.subtitle),
    );
    const aside = item.tertiary_text && element('span', { class: 'item-tertiary' }, item.tertiary_text);
    const parts = [image, words, aside, item.action && icon(CHEVRON, 'icon item-chevron')];
    const row = item.action
      ? actionControl({ ...item, disabled }, drawing, { class: 'item' }, ...parts)
      : element(
          'div',
          { class: disabled ? 'item is-disabled' : 'item', 'aria-disabled': disabled ? 'true' : null },
          ...parts,
        );
    return element('li', { dataset: { componentId: item.id } }, row);
  });
  return element('ul', {}, ...rows);
}

function drawDataTable(component) {
  const rows = (component.items ?? []).map((item) =>
    element(
      'div',
      { class: 'pair' },
      element('dt', {}, item.field ?? ''),
      // The inbox truncates long values and shows them on hover.
      element('dd', { title: item.value }, item.value ?? ''),
    ),
  );
  return element('dl', { class: 'pairs' }, ...rows);
}

/** The server loads the images. */
function proxied(address) {
  return `/inbox/api/image?url=${encodeURIComponent(address)}`;
}

function drawImage(component) {
  const align = component.align ?? 'left';
  const image = element('img', {
    src: isSafeAddress(component.url) ? proxied(component.url) : null,
    alt: '',
    width: component.width,
    height: component.height,
    class: component.rounded ? 'rounded' : null,
  });
  const { action } = component;
  const isLink = action?.type === 'url' && isSafeAddress(action.url);
  const content = isLink ? externalLink(action.url, { 'aria-label': 'Image' }, image) : image;
  return element('div', { class: `align-${align}` }, content);
}
