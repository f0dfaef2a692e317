import { createHmac, randomUUID } from 'node:crypto';
import autocannon from 'autocannon';

/** What to send, and for how long. */
export interface LoadInput {
  readonly kind: 'webhook' | 'card';
  readonly url: string;
  readonly connections: number;
  /** Requests a second; left out: as many as are answered. */
  readonly perSecond?: number;
  readonly seconds: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly workspaceId: string;
  /** Customers that the requests are about, `user-0` to `user-<n-1>`. */
  readonly customers: number;
  /** Signs cards. */
  readonly secret?: string;
}

export interface LoadResult {
  /** Answered with 200. */
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers other than 200, broken connections, time-outs. */
  readonly failures: number;
}

/** Number of bodies that are signed in advance: the load generator shares the machine with what it measures. */
const SIGNED_CARDS = 2_000;

const input = JSON.parse(process.argv[2] ?? '{}') as LoadInput;
const run = randomUUID();
let sent = 0;

const [before = '', between = '', after = ''] = webhookTemplate();

function webhookTemplate(): string[] {
  const event = {
    id: '\u0001',
    type: 'RENEWAL',
    app_id: 'app1a2b3c4d',
    event_timestamp_ms: Date.now(),
    app_user_id: '\u0001',
    product_id: 'pro_monthly',
    entitlement_ids: ['pro'],
    entitlement_id: null,
    period_type: 'NORMAL',
    purchased_at_ms: Date.now(),
    expiration_at_ms: Date.now() + 30 * 86_400_000,
    store: 'APP_STORE',
    environment: 'PRODUCTION',
    is_family_share: false,
    country_code: 'US',
    currency: 'USD',
    price: 9.99,
    price_in_purchased_currency: 9.99,
    takehome_percentage: 0.7,
    tax_percentage: 0,
    commission_percentage: 0.3,
    transaction_id: '2000000000000001',
    original_transaction_id: '2000000000000001',
    renewal_number: 3,
    offer_code: null,
    presented_offering_id: 'default',
    subscriber_attributes: {
      $email: { value: 'someone@example.com', updated_at_ms: 1_700_000_000_000 },
      $displayName: { value: 'Some One', updated_at_ms: 1_700_000_000_000 },
    },
  };
  return JSON.stringify({ api_version: '1.0', event }).split('\\u0001');
}

function cards(): { body: string; signature: string }[] {
  return Array.from({ length: SIGNED_CARDS }, (_, index) => {
    const customer = Math.floor((index * input.customers) / SIGNED_CARDS);
    const body = JSON.stringify({
      workspace_id: input.workspaceId,
      workspace_region: 'US',
      admin: { type: 'admin', id: '7001', name: 'Ada Agent', email: 'ada@example.com' },
      conversation: {
        type: 'conversation',
        id: '501',
        source: { type: 'conversation', body: '<p>Hello</p>' },
      },
      contact: {
        type: 'contact',
        id: `contact-${customer}`,
        external_id: `user-${customer}`,
        role: 'user',
        email: `user-${customer}@example.com`,
        custom_attributes: {},
      },
    });
    return {
      body,
      signature: createHmac('sha256', input.secret ?? '')
        .update(body)
        .digest('hex'),
    };
  });
}

const prepared = input.kind === 'card' ? cards() : [];

const result = await autocannon({
  url: input.url,
  connections: input.connections,
  duration: input.seconds,
  ...(input.perSecond === undefined ? {} : { overallRate: input.perSecond }),
  requests: [
    {
      method: 'POST',
      setupRequest(request) {
        sent += 1;
        if (input.kind === 'card') {
          // Steps through the customers in an order that makes caches useless.
          const card = prepared[(sent * 7_919) % prepared.length];
          return {
            ...request,
            body: card?.body ?? '',
            headers: {
              ...input.headers,
              'content-type': 'application/json',
              'x-body-signature': card?.signature ?? '',
            },
          };
        }
        const customer = Math.floor(Math.random() * input.customers);
        return {
          ...request,
          body: `${before}${run}-${sent}${between}user-${customer}${after}`,
          headers: { ...input.headers, 'content-type': 'application/json' },
        };
      },
    },
  ],
});

const answered = result['2xx'];
const output: LoadResult = {
  requests: answered,
  perSecond: Math.round(answered / result.duration),
  p50Ms: result.latency.p50,
  p99Ms: result.latency.p99,
  failures: result.non2xx + result.errors + result.timeouts,
};
process.stdout.write(JSON.stringify(output));
