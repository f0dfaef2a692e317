import { z } from 'zod';

/** The Canvas Kit reference as schemas: a strict one for each component. */

const MAX_BYTES = 64 * 1_024;

const id = z.string().min(1);
const px = z.int().positive();
const httpsUrl = z.url({ protocol: /^https$/ });
const noMargin = z.literal('none').optional();
const saveState = z.enum(['unsaved', 'saved', 'failed']).optional();

const submitAction = z.strictObject({ type: z.literal('submit') });
const urlAction = z.strictObject({ type: z.literal('url'), url: z.url({ protocol: /^https?$/ }) });
const sheetAction = z.strictObject({ type: z.literal('sheet'), url: httpsUrl });
const action = z.discriminatedUnion('type', [submitAction, urlAction, sheetAction]);

const option = z.strictObject({
  type: z.literal('option'),
  id,
  text: z.string().min(1),
  disabled: z.boolean().optional(),
});
/** Canvas Kit reference: dropdown, single-select. Older pages said 11. */
const choices = z.array(option).min(2, 'needs at least 2 options').max(10, 'has more than 10 options');

const text = z.strictObject({
  type: z.literal('text'),
  id: id.optional(),
  text: z.string(),
  align: z.enum(['left', 'center', 'right']).optional(),
  style: z.enum(['header', 'paragraph', 'muted', 'error']).optional(),
  bottom_margin: noMargin,
});

const button = z.strictObject({
  type: z.literal('button'),
  id,
  label: z.string().min(1),
  action,
  style: z.enum(['primary', 'secondary', 'link']).optional(),
  disabled: z.boolean().optional(),
});

const input = z.strictObject({
  type: z.literal('input'),
  id,
  label: z.string().optional(),
  placeholder: z.string().optional(),
  value: z.string().optional(),
  action: action.optional(),
  save_state: saveState,
  disabled: z.boolean().optional(),
});

const textarea = z.strictObject({
  type: z.literal('textarea'),
  id,
  label: z.string().optional(),
  placeholder: z.string().optional(),
  value: z.string().optional(),
  error: z.boolean().optional(),
  disabled: z.boolean().optional(),
});

const dropdown = z.strictObject({
  type: z.literal('dropdown'),
  id,
  options: choices,
  label: z.string().optional(),
  value: z.string().optional(),
  save_state: saveState,
  disabled: z.boolean().optional(),
});

const singleSelect = z.strictObject({
  ...dropdown.shape,
  type: z.literal('single-select'),
  action: action.optional(),
});

const checkbox = z
  .strictObject({
    type: z.literal('checkbox'),
    id,
    // The reference says "option", the official tutorial "options" (CONFLICT): either, but not both.
    option: z.array(option).min(1).optional(),
    options: z.array(option).min(1).optional(),
    label: z.string(),
    value: z.array(z.string()).optional(),
    save_state: saveState,
    disabled: z.boolean().optional(),
  })
  .refine((box) => (box.option === undefined) !== (box.options === undefined), 'needs its options once');

const item = z
  .strictObject({
    type: z.literal('item'),
    id,
    title: z.string().min(1),
    subtitle: z.string().optional(),
    tertiary_text: z.string().optional(),
    image: httpsUrl.optional(),
    image_width: px.optional(),
    image_height: px.optional(),
    rounded_image: z.boolean().optional(),
    disabled: z.boolean().optional(),
    action: action.optional(),
  })
  .refine(
    (each) => each.image === undefined || (each.image_width !== undefined && each.image_height !== undefined),
    'an image needs image_width and image_height',
  );

const list = z.strictObject({
  type: z.literal('list'),
  items: z.array(item),
  disabled: z.boolean().optional(),
});

const dataTable = z.strictObject({
  type: z.literal('data-table'),
  items: z.array(z.strictObject({ type: z.literal('field-value'), field: z.string(), value: z.string() })),
});

const divider = z.strictObject({ type: z.literal('divider'), id: id.optional(), bottom_margin: noMargin });

const spacer = z.strictObject({
  type: z.literal('spacer'),
  id: id.optional(),
  size: z.enum(['xs', 's', 'm', 'l', 'xl']).optional(),
});

const image = z.strictObject({
  type: z.literal('image'),
  url: httpsUrl,
  width: px,
  height: px,
  id: id.optional(),
  align: z.enum(['left', 'center', 'right', 'full_width']).optional(),
  rounded: z.boolean().optional(),
  bottom_margin: noMargin,
  action: urlAction.optional(),
});

const component = z.discriminatedUnion('type', [
  text,
  button,
  input,
  textarea,
  dropdown,
  singleSelect,
  checkbox,
  list,
  dataTable,
  divider,
  spacer,
  image,
]);

export type CanvasComponent = z.infer<typeof component>;

const content = z.strictObject({ components: z.array(component) });
const canvasSchema = z.strictObject({
  content: content.optional(),
  content_url: z.url({ protocol: /^https?$/ }).optional(),
  stored_data: z.record(z.string(), z.unknown()).optional(),
});

export type Canvas = z.infer<typeof canvasSchema>;

export type CanvasValidation =
  | {
      readonly ok: true;
      readonly canvas: Canvas;
      /** Options for a card in the reply composer; only an inbox submit may carry them. */
      readonly cardCreationOptions: Record<string, unknown> | null;
    }
  | { readonly ok: false; readonly problems: string[] };

const cardOptions = z.record(z.string(), z.unknown()).optional();
const event = z.strictObject({ type: z.literal('completed') }).optional();

export interface CanvasRequest {
  readonly place: 'inbox' | 'messenger';
  /** `live`: the answer to a view of a canvas with `content_url`; Messenger only. */
  readonly flow: 'initialize' | 'submit' | 'live';
}

/**
 * Whether Intercom could draw this response. Problems name the place in it, such as
 * `canvas.content.components.2.options: has more than 10 options`.
 *
 * Source: Canvas Kit reference, components and response objects. Component counts and text lengths have no
 * documented limit.
 */
export function validateCanvas(answer: unknown, request: CanvasRequest): CanvasValidation {
  const { place, flow } = request;
  if (flow === 'live') {
    const parsed = z.strictObject({ content }).safeParse(answer);
    if (!parsed.success) return { ok: false, problems: problemsOf(parsed.error) };
    return checkCanvas({ content: parsed.data.content }, null, 'content', place);
  }
  const schema =
    flow === 'initialize'
      ? z.strictObject({ canvas: canvasSchema })
      : place === 'inbox'
        ? z.strictObject({ canvas: canvasSchema, event, card_creation_options: cardOptions })
        : z.strictObject({ canvas: canvasSchema, event });
  const parsed = schema.safeParse(answer);
  if (!parsed.success) return { ok: false, problems: problemsOf(parsed.error) };
  const options = (parsed.data as { card_creation_options?: Record<string, unknown> }).card_creation_options;
  return checkCanvas(parsed.data.canvas, options ?? null, 'canvas.content', place);
}

function problemsOf(error: z.ZodError): string[] {
  return error.issues.map((issue) => `${issue.path.join('.') || 'answer'}: ${issue.message}`);
}

function checkCanvas(
  canvas: Canvas,
  cardCreationOptions: Record<string, unknown> | null,
  path: string,
  place: CanvasRequest['place'],
): CanvasValidation {
  const problems: string[] = [];
  if ((canvas.content === undefined) === (canvas.content_url === undefined)) {
    problems.push('canvas: needs either content or content_url');
  }
  if (place === 'inbox' && canvas.content_url !== undefined) {
    problems.push('canvas.content_url: live canvases are for the Messenger only');
  }
  if (bytes(canvas.content) > MAX_BYTES) problems.push(`${path}: larger than 64 KB`);
  if (bytes(canvas.stored_data) > MAX_BYTES) problems.push('canvas.stored_data: larger than 64 KB');
  const seen = new Set<string>();
  for (const [index, each] of (canvas.content?.components ?? []).entries()) {
    const at = `${path}.components.${index}`;
    for (const id of idsOf(each)) {
      if (seen.has(id)) problems.push(`${at}: the id "${id}" is used twice`);
      seen.add(id);
    }
    problems.push(...choiceProblems(each, at));
    if (place === 'inbox' && actionsOf(each).some(({ type }) => type === 'sheet')) {
      problems.push(`${at}: sheets are for the Messenger only`);
    }
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, canvas, cardCreationOptions };
}

const bytes = (value: unknown): number =>
  value === undefined ? 0 : Buffer.byteLength(JSON.stringify(value));

function idsOf(each: CanvasComponent): string[] {
  if (each.type === 'list') return each.items.map((item) => item.id);
  return 'id' in each && each.id !== undefined ? [each.id] : [];
}

function choiceProblems(each: CanvasComponent, at: string): string[] {
  if (each.type !== 'dropdown' && each.type !== 'single-select' && each.type !== 'checkbox') return [];
  const options = each.type === 'checkbox' ? (each.option ?? each.options ?? []) : each.options;
  const ids = new Set(options.map((one) => one.id));
  const problems: string[] = [];
  if (ids.size !== options.length) problems.push(`${at}.options: option ids are not unique`);
  for (const value of [each.value ?? []].flat()) {
    if (!ids.has(value)) problems.push(`${at}.value: "${value}" is none of the options`);
  }
  return problems;
}

function actionsOf(each: CanvasComponent): z.infer<typeof action>[] {
  if (each.type === 'list') return each.items.flatMap((item) => item.action ?? []);
  return 'action' in each && each.action !== undefined ? [each.action] : [];
}

/** Ids that a teammate can press: enabled, with a submit action. A press sends the item's id for list items. */
export function pressableIds(canvas: Canvas): string[] {
  return (canvas.content?.components ?? []).flatMap((each) => {
    if ('disabled' in each && each.disabled) return [];
    if ('save_state' in each && each.save_state === 'saved') return [];
    if (each.type === 'list') {
      return each.items.flatMap((item) =>
        item.action?.type === 'submit' && !item.disabled ? [item.id] : [],
      );
    }
    if (each.type !== 'button' && each.type !== 'input' && each.type !== 'single-select') return [];
    return each.action?.type === 'submit' ? [each.id] : [];
  });
}

/** The values that Intercom sends for unchanged inputs. */
export function presetValues(canvas: Canvas): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const each of canvas.content?.components ?? []) {
    if ('value' in each && each.value !== undefined) values[each.id] = each.value;
  }
  return values;
}
