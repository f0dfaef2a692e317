import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { after, before, test } from 'node:test';
import { type Attributes, type Context, context, ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api';
import { createLogger } from '../../src/logger.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

interface Recorded {
  readonly name: string;
  readonly attributes: Attributes;
  isEnded: boolean;
}

/** A minimal SDK: records spans, and keeps the active one across asynchronous calls. */
function recordSpans(): Recorded[] {
  const spans: Recorded[] = [];
  const storage = new AsyncLocalStorage<Context>();
  context.setGlobalContextManager({
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, work, self, ...args) => storage.run(active, () => work.apply(self, args)),
    bind: (_active, target) => target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  });
  function startSpan(name: string, options: { attributes?: Attributes } = {}): Span {
    const recorded: Recorded = { name, attributes: { ...options.attributes }, isEnded: false };
    spans.push(recorded);
    const span = {
      spanContext: () => ({
        traceId: 'a'.repeat(32),
        spanId: String(spans.length).padStart(16, '0'),
        traceFlags: 1,
      }),
      setAttribute(key: string, value: string) {
        recorded.attributes[key] = value;
        return span;
      },
      setStatus: () => span,
      recordException: () => {},
      end() {
        recorded.isEnded = true;
      },
    };
    return span as unknown as Span;
  }
  trace.setGlobalTracerProvider({
    getTracer: () => ({
      startSpan,
      startActiveSpan(name: string, options: object, work: (span: Span) => unknown) {
        const span = startSpan(name, options);
        return context.with(trace.setSpan(context.active(), span), () => work(span));
      },
    }),
  } as unknown as Parameters<typeof trace.setGlobalTracerProvider>[0]);
  return spans;
}

let product: Product;
let spans: Recorded[];
let output = '';

before(async () => {
  spans = recordSpans();
  product = await createProduct({
    logger: createLogger('debug', {
      write(text: string) {
        output += text;
      },
    }),
  });
});
after(async () => {
  await product?.close();
  // The other test files of this process run without an SDK.
  trace.disable();
  context.disable();
});

test('one event can be followed: webhook, processor, delivery, card; log lines carry the trace', async () => {
  const body = JSON.stringify({ event: eventBody({ id: 'traced-1', app_user_id: 'zqperson' }) });
  const answer = await fetch(product.webhook.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: product.webhook.authorization },
    body,
  });
  assert.equal(answer.status, 200);
  const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'zqperson' });
  const { id: conversationId } = product.intercom.addConversation(WORKSPACE_ID, {
    contactIds: [contact.id],
    body: '<p>Hello</p>',
  });
  await product.card({ flow: 'initialize', contactId: contact.id, adminId: '7001', conversationId });
  for (const name of [
    'POST webhooks/revenuecat',
    'process webhooks',
    'deliver subscriber',
    'POST canvas/inbox',
    'job workspace.health',
  ])
    await until(() => spans.some((span) => span.name === name && span.isEnded), `a span "${name}"`);
  const processed = spans.find(({ name }) => name === 'process webhooks');
  assert.deepEqual(processed?.attributes.eventIds, ['traced-1']);
  assert.doesNotMatch(JSON.stringify(spans), /zqperson/);
  const line = output.split('\n').find((each) => each.includes('/webhooks/revenuecat/'));
  assert.equal((JSON.parse(line ?? '{}') as { traceId?: string }).traceId, 'a'.repeat(32));
});
