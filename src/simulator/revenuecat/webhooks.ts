import { createHmac } from 'node:crypto';
import { createHttpClient } from '../../http/client.ts';
import { findProject, type RevenueCatEvent, type RevenueCatState, type Webhook } from './state.ts';

interface WebhookAnswer {
  /** The status of the last attempt; `null`: no answer within 60 s. Only 200 counts as success. */
  readonly status: number | null;
}

export interface SendOptions {
  /** Waits before each further attempt (ms); none by default. {@link RETRY_AFTER_MS} is RevenueCat's own rule. */
  readonly retryAfterMs?: readonly number[];
  /** Sends to this webhook only. Default: all that want the event. */
  readonly webhookId?: string;
}

/** Source: RevenueCat, "Webhooks: retries": five more attempts after 5, 10, 20, 40 and 80 minutes. */
export const RETRY_AFTER_MS: readonly number[] = [5, 10, 20, 40, 80].map((minutes) => minutes * 60_000);

const TIMEOUT_MS = 60_000;

/** `X-RevenueCat-Webhook-Signature`: HMAC-SHA256 over `<t>.<raw body>`, new on every attempt. `atS` is Unix s. */
export function signEvent(secret: string, body: string, atS: number): string {
  return `t=${atS},v1=${createHmac('sha256', secret).update(`${atS}.${body}`).digest('hex')}`;
}

function wants({ environment }: Webhook, event: RevenueCatEvent): boolean {
  return environment === null || event.environment === environment.toUpperCase();
}

/** Posts an event to every webhook of the project that wants it, in parallel. */
export async function sendToWebhooks(
  state: RevenueCatState,
  now: () => number,
  projectId: string,
  event: RevenueCatEvent,
  options: SendOptions = {},
): Promise<WebhookAnswer[]> {
  const { webhookId } = options;
  const webhooks = findProject(state, projectId).webhooks.filter((webhook) =>
    webhookId === undefined ? wants(webhook, event) : webhook.id === webhookId,
  );
  const raw = JSON.stringify({ api_version: '1.0', event });
  return Promise.all(
    webhooks.map((webhook) => deliver(webhook, { raw, type: event.type }, now, options.retryAfterMs ?? [])),
  );
}

const http = createHttpClient({ timeout: TIMEOUT_MS });

async function deliver(
  webhook: Webhook,
  { raw, type }: { raw: string; type: string },
  now: () => number,
  retryAfterMs: readonly number[],
): Promise<WebhookAnswer> {
  for (let retries = 0; ; retries += 1) {
    const { authorizationHeader, signingSecret } = webhook;
    const status = await http
      .post(webhook.url, Buffer.from(raw), {
        headers: {
          ...(authorizationHeader === null ? {} : { authorization: authorizationHeader }),
          ...(signingSecret === null
            ? {}
            : { 'x-revenuecat-webhook-signature': signEvent(signingSecret, raw, Math.floor(now() / 1_000)) }),
        },
      })
      .then(
        (answer) => answer.status,
        () => null,
      );
    webhook.lastDelivery = { type, status, atMs: now() };
    const waitMs = retryAfterMs[retries];
    if (status === 200 || waitMs === undefined) return { status };
    await new Promise((resolve) => setTimeout(resolve, waitMs).unref());
  }
}
