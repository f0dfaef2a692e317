import assert from 'node:assert/strict';
import { signFormState } from '../../src/inbox-card/context.ts';
import type { CanvasAnswer, CanvasCall } from '../../src/simulator/intercom/app-caller.ts';
import type { Canvas } from '../../src/simulator/intercom/canvas-rules.ts';
import type { NewContact } from '../../src/simulator/intercom/contact-changes.ts';
import {
  customerFromStory,
  purchaseStory,
  type StoryName,
} from '../../src/simulator/revenuecat/scenarios.ts';
import type { RevenueCatEvent } from '../../src/simulator/revenuecat/state.ts';
import { deriveKey } from '../../src/workspaces/secrets.ts';
import { type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

export const ADMIN_ID = '7001';

/** A card that one teammate has open in one conversation. */
export interface OpenCard {
  readonly contactId: string;
  readonly conversationId: string;
  /** What is on the screen. */
  readonly canvas: Canvas;
  readonly answer: CanvasAnswer;
  /** Everything that can be read on it, one line each. */
  readonly text: string;
  press(componentId: string, inputs?: Record<string, string>): Promise<OpenCard>;
  /** Presses a button that acts, until RevenueCat has responded: a busy machine may draw the card before that. */
  confirm(componentId: string): Promise<OpenCard>;
}

/** Sends a customer's story as webhooks, and returns the events. */
export async function tell(
  product: Product,
  story: StoryName,
  customer: { appUserId: string; email?: string; projectId?: string },
): Promise<readonly RevenueCatEvent[]> {
  const { projectId = REVENUECAT_PROJECT_ID, ...who } = customer;
  const customerStory = purchaseStory(story, { ...who, nowMs: Date.now() });
  customerFromStory(product.revenueCat.state, projectId, customerStory);
  // Sent in parallel: in sequence, each event would be processed and delivered on its own.
  await Promise.all(customerStory.events.map((event) => send(product, event, projectId)));
  return customerStory.events;
}

export async function send(
  product: Product,
  event: RevenueCatEvent,
  projectId = REVENUECAT_PROJECT_ID,
): Promise<void> {
  const answers = await product.revenueCat.sendWebhook(projectId, event);
  assert.ok(answers.every((answer) => answer.status === 200));
}

/** Opens the card of a new contact; every answer is checked by Intercom's rules. */
export async function openFor(
  product: Product,
  contact: NewContact,
  options: { says?: string; adminId?: string; workspaceId?: string } = {},
): Promise<OpenCard> {
  const { intercom } = product;
  const workspaceId = options.workspaceId ?? WORKSPACE_ID;
  const { id: contactId } = intercom.addContact(workspaceId, { role: 'user', ...contact });
  const { id: conversationId } = intercom.addConversation(workspaceId, {
    contactIds: [contactId],
    body: options.says ?? '<p>Hello</p>',
  });
  return openAgain(product, { contactId, conversationId }, options);
}

export async function openAgain(
  product: Product,
  card: Pick<OpenCard, 'contactId' | 'conversationId'>,
  options: { adminId?: string; workspaceId?: string } = {},
): Promise<OpenCard> {
  const { contactId, conversationId } = card;
  const base = {
    appUrl: product.server.url,
    workspaceId: options.workspaceId ?? WORKSPACE_ID,
    place: 'inbox',
    adminId: options.adminId ?? ADMIN_ID,
    conversationId,
    contactId,
  } as const;
  const shown = (answer: CanvasAnswer, what: string): OpenCard => {
    assert.deepEqual([answer.status, answer.problems, answer.findings], [200, [], []], what);
    const canvas = answer.canvas ?? {};
    const text = textOf(canvas);
    if (text.startsWith('Something went wrong')) assert.fail(`${what}: ${product.warnings.join('')}`);
    const card: OpenCard = {
      contactId,
      conversationId,
      canvas,
      answer,
      text,
      async press(componentId, inputs) {
        const call = { ...base, flow: 'submit', componentId, currentCanvas: canvas } as const;
        return shown(await draw({ ...call, ...(inputs ? { inputValues: inputs } : {}) }), componentId);
      },
      confirm(componentId) {
        return until(async () => {
          const done = await card.press(componentId);
          return !done.text.includes('Not confirmed yet') && done;
        }, 'RevenueCat to answer');
      },
    };
    return card;
  };
  /** On a busy machine the card can take longer than Intercom waits; an agent would press again. */
  const draw = async (call: Omit<CanvasCall, keyof typeof base>): Promise<CanvasAnswer> => {
    for (let tries = 1; ; tries += 1) {
      const answer = await product.intercom.callCanvas({ ...base, ...call });
      if (tries === 5 || !textOf(answer.canvas).startsWith('This is taking longer')) return answer;
    }
  };
  return shown(await draw({ flow: 'initialize' }), 'initialize');
}

/** `''`: no subscriber has the app user id. */
export async function subscriberIdOf(product: Product, appUserId: string): Promise<string> {
  const [row] = await product.db.database.query<{ subscriber_id: string }>(
    'select subscriber_id from subscriber_ids where workspace_id = $1 and app_user_id = $2',
    [WORKSPACE_ID, appUserId],
  );
  return row?.subscriber_id ?? '';
}

/** A failed job that is retried later does not count. */
const READING = `exists (select 1 from pgboss.job
                          where name in ('subscriber.refresh', 'customer.import') and state < 'completed'
                            and (state = 'active' or start_after < now() + interval '1 second'))`;
const DELIVERING = `exists (select 1 from subscribers s
                              left join subscriber_summaries u using (workspace_id, subscriber_id)
                             where s.workspace_id = $1 and s.merged_into is null
                               and (s.due_at <= now() or s.lease_owner is not null
                                    or (u.version is distinct from s.version and not s.waiting)))`;

/** Each of several consecutive refreshes can wait up to 5 s, the interval at which their workers poll. */
export const SETTLED_WITHIN_MS = 60_000;

/** Waits until everything is read and delivered, so that nothing but the test changes a card. */
export async function settled(product: Product): Promise<void> {
  const isBusy = `select ${READING} or ${DELIVERING} as busy from workspaces where workspace_id = $1`;
  const isSettled = async (): Promise<boolean> => {
    const [row] = await product.db.database.query<{ busy: boolean }>(isBusy, [WORKSPACE_ID]);
    return row?.busy === false;
  };
  await until(isSettled, 'everything to be read and delivered', SETTLED_WITHIN_MS);
}

/** Presses a component that is not on the canvas, as anyone who can sign requests could. */
export async function forge(
  product: Product,
  card: OpenCard,
  componentId: string,
  more: { storedData?: Record<string, unknown>; inputs?: Record<string, string>; adminId?: string } = {},
): Promise<CanvasAnswer> {
  const { stored_data: shown } = card.canvas;
  const stored = more.storedData ?? shown;
  return product.intercom.callCanvas({
    appUrl: product.server.url,
    workspaceId: WORKSPACE_ID,
    place: 'inbox',
    flow: 'submit',
    adminId: more.adminId ?? ADMIN_ID,
    conversationId: card.conversationId,
    contactId: card.contactId,
    componentId,
    inputValues: more.inputs ?? {},
    currentCanvas: {
      content: { components: [{ type: 'button', id: componentId, label: 'x', action: { type: 'submit' } }] },
      ...(stored === undefined ? {} : { stored_data: stored }),
    },
  });
}

export function textOf(canvas: Canvas | null): string {
  const lines = (canvas?.content?.components ?? []).flatMap((each): (string | undefined)[] => {
    switch (each.type) {
      case 'text':
        return readable(each.text);
      case 'button':
        return [each.label];
      case 'list':
        return each.items.map((item) =>
          [item.title, item.subtitle, item.tertiary_text].filter(Boolean).join(' | '),
        );
      case 'data-table':
        return each.items.map((row) => `${row.field}: ${row.value}`);
      case 'input':
      case 'textarea':
        return [each.label, each.value];
      case 'dropdown':
      case 'single-select':
        return [each.label, ...each.options.map((option) => option.text)];
      default:
        return [];
    }
  });
  return lines.filter(Boolean).join('\n');
}

/** Removes the marks of bold text, and puts the headline's status mark on its own line. */
function readable(text: string): string[] {
  const [, mark = '', rest = text] = /^(✅|⚠️|⛔|⏸) (?=\*\*)(.*)$/su.exec(text) ?? [];
  return [mark, rest.replaceAll(/^\*\*(?=.*[.。]\*\*$)|(?<=[.。])\*\*$/gsu, '')];
}

/** Ids of everything on a canvas. */
export function idsOn(canvas: Canvas): string[] {
  return (canvas.content?.components ?? []).flatMap((each) =>
    each.type === 'list' ? each.items.map((item) => item.id) : 'id' in each && each.id ? [each.id] : [],
  );
}

/** The form state of an open card as if its canvas had been drawn earlier. */
export function agedFormState(product: Product, card: OpenCard, minutes: number): Record<string, unknown> {
  const { data } = card.canvas.stored_data as { data: string };
  const formState = JSON.parse(data) as Parameters<typeof signFormState>[2];
  const keys = [Buffer.from(product.environment.ENCRYPTION_KEYS ?? '', 'base64')];
  const owner = { workspaceId: WORKSPACE_ID, admin: { id: ADMIN_ID }, contact: { id: card.contactId } };
  const signedAtMs = formState.signedAtMs - minutes * 60_000;
  const { review } = formState;
  const aged = review && { review: { ...review, reviewedAtMs: review.reviewedAtMs - minutes * 60_000 } };
  return signFormState(deriveKey(keys, 'stored-data'), owner, { ...formState, ...aged, signedAtMs });
}
