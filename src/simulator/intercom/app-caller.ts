import { createHmac, randomUUID } from 'node:crypto';
import type { AxiosResponse } from 'axios';
import { createHttpClient } from '../../http/client.ts';
import { reviewFindings } from './canvas-review.ts';
import {
  type Canvas,
  type CanvasRequest,
  type CanvasValidation,
  presetValues,
  pressableIds,
  validateCanvas,
} from './canvas-rules.ts';
import { contactView } from './contact-view.ts';
import { adminView, conversationView } from './conversations.ts';
import { type IntercomState, seconds } from './state.ts';

export interface CanvasCall extends CanvasRequest {
  /** Origin of the app; the paths are those that it registers in the Developer Hub. */
  readonly appUrl: string;
  readonly workspaceId: string;
  /** Inbox only: the teammate who looks at the card. */
  readonly adminId?: string;
  readonly conversationId?: string | undefined;
  readonly contactId?: string | undefined;
  /** Messenger: a teammate looks at the card in the inbox, and the request names no contact. */
  readonly withoutContact?: boolean;
  /** Submit only: what was pressed. */
  readonly componentId?: string | undefined;
  readonly inputValues?: Readonly<Record<string, unknown>> | undefined;
  /** Submit and live: the canvas that is on the screen. */
  readonly currentCanvas?: Canvas | undefined;
  /** Messenger: where the card is shown, and in which language. */
  readonly location?: 'conversation' | 'home';
  readonly locale?: string;
  readonly cardCreationOptions?: Readonly<Record<string, unknown>>;
}

export interface CanvasAnswer {
  readonly status: number;
  /** The app's raw response. */
  readonly body: unknown;
  /** `null` when Intercom could not draw the response; `problems` says why. */
  readonly canvas: Canvas | null;
  readonly problems: string[];
  /** Problems for which Intercom's reviewers would reject the canvas. */
  readonly findings: string[];
  readonly cardCreationOptions: Record<string, unknown> | null;
  readonly durationMs: number;
}

const CANVAS_TIMEOUT_MS = 10_000;
const WEBHOOK_TIMEOUT_MS = 5_000;
const WEBHOOK_RETRY_MS = 60_000;

/** `X-Body-Signature`: bare hex of HMAC-SHA256 over the raw bytes. Source: Intercom, "Canvas Kit: request signing". */
export function signBody(secret: string, body: string | Buffer): string {
  return createHmac('sha256', secret).update(body).digest('hex');
}

/** `X-Hub-Signature`: `sha1=` and hex of HMAC-SHA1. Source: Intercom, "Webhooks: signed notifications". */
export function signWebhook(secret: string, body: string | Buffer): string {
  return `sha1=${createHmac('sha1', secret).update(body).digest('hex')}`;
}

/** Intercom's own requests to the app. */
export function createAppCaller(options: { state: IntercomState; now: () => number; clientSecret: string }) {
  const { state, now, clientSecret } = options;
  const http = createHttpClient();

  /** Signs exactly the bytes that it sends. */
  async function post(
    url: string,
    payload: unknown,
    headers: (raw: Buffer) => Record<string, string>,
    timeoutMs: number,
  ): Promise<AxiosResponse> {
    const raw = Buffer.from(JSON.stringify(payload));
    return http.post(url, raw, { headers: headers(raw), timeout: timeoutMs });
  }

  const signed = (raw: Buffer): Record<string, string> => ({
    'X-Body-Signature': signBody(clientSecret, raw),
  });

  /**
   * Sends a webhook to `state.webhookEndpoint`, whatever its topic: five seconds to answer, one retry after a minute.
   *
   * @returns the last status; `null`: no response or no endpoint
   */
  async function deliver(
    topic: string,
    item: Record<string, unknown>,
    workspaceId: string,
  ): Promise<number | null> {
    const id = `notif_${randomUUID()}`;
    const firstSentAt = seconds(now());
    for (const attempt of [1, 2] as const) {
      const endpoint = state.webhookEndpoint;
      if (endpoint === null) return null;
      const envelope = {
        type: 'notification_event',
        app_id: workspaceId,
        data: { type: 'notification_event_data', item },
        links: {},
        id: topic === 'ping' ? null : id,
        topic,
        delivery_status: topic === 'ping' ? null : 'pending',
        delivery_attempts: attempt,
        delivered_at: 0,
        first_sent_at: firstSentAt,
        created_at: firstSentAt,
        self: null,
      };
      const headers = (raw: Buffer): Record<string, string> => ({
        'X-Hub-Signature': signWebhook(clientSecret, raw),
        'User-Agent': 'intercom-parrot-service-client/1.0',
      });
      const status = await post(endpoint, envelope, headers, WEBHOOK_TIMEOUT_MS).then(
        (answer) => answer.status,
        () => null,
      );
      state.webhookDeliveries += 1;
      // Source: Intercom, "Webhooks": 410 ends the subscription.
      if (status === 410) state.webhookEndpoint = null;
      if (attempt === 2 || status === 410 || (status !== null && status >= 200 && status < 300))
        return status;
      await new Promise((resolve) => setTimeout(resolve, WEBHOOK_RETRY_MS).unref());
    }
    return null;
  }

  return {
    /**
     * Sends a Canvas Kit request and validates the response. Rejects when the pressed component is not on
     * `currentCanvas`, when workspace, teammate, conversation or contact is unknown, and when there is no response.
     */
    async callCanvas(call: CanvasCall): Promise<CanvasAnswer> {
      const payload = canvasPayload(state, call);
      const startedAt = performance.now();
      const url =
        call.flow === 'live' && call.currentCanvas?.content_url !== undefined
          ? call.currentCanvas.content_url
          : `${call.appUrl}/canvas/${call.place}/${call.flow}`;
      const answer = await post(url, payload, signed, CANVAS_TIMEOUT_MS);
      const durationMs = performance.now() - startedAt;
      const { status, data: body } = answer;
      const validation: CanvasValidation =
        status === 200
          ? validateCanvas(body, call)
          : { ok: false, problems: [`answered ${status} instead of 200`] };
      if (!validation.ok) {
        const { problems } = validation;
        return { status, body, canvas: null, problems, findings: [], cardCreationOptions: null, durationMs };
      }
      const { canvas, cardCreationOptions } = validation;
      const first = call.flow === 'initialize' || call.componentId === 'home';
      const findings = call.place === 'inbox' ? reviewFindings(canvas, { first }) : [];
      return { status, body, canvas, problems: [], findings, cardCreationOptions, durationMs };
    },
    sendWebhook: deliver,
    /** Sends the webhook of a change in Intercom, if its topic is subscribed. Does not wait. */
    emit(topic: string, workspaceId: string, item: Record<string, unknown>): void {
      if (state.webhookEndpoint === null) return;
      const subscribed = topic === 'contact.unarchived' ? 'contact.unarchive' : topic;
      if (!state.webhookTopics.has(subscribed)) return;
      void deliver(topic, item, workspaceId);
    },
    /** The notice to `state.uninstallUrl`. No signature is documented; public apps report this one (UNVERIFIED). */
    async sendUninstall(workspaceId: string): Promise<number> {
      if (state.uninstallUrl === null) throw new Error('state.uninstallUrl is not set');
      return (await post(state.uninstallUrl, { app_id: workspaceId }, signed, WEBHOOK_TIMEOUT_MS)).status;
    },
  };
}

function canvasPayload(state: IntercomState, call: CanvasCall): Record<string, unknown> {
  const workspace = requireKnown(state.workspaces.get(call.workspaceId), `workspace ${call.workspaceId}`);
  const base = { workspace_id: workspace.id, workspace_region: workspace.region };
  const people = peopleOf(state, call);
  if (call.place === 'messenger') {
    const context = {
      ...(call.conversationId === undefined ? {} : { conversation_id: Number(call.conversationId) }),
      location: call.location ?? 'home',
      locale: call.locale ?? 'en',
      messenger_action_color: '#0057ff',
      messenger_background_color: '#0057ff',
      referrer: 'https://app.example.com/',
    };
    if (call.flow === 'live')
      return { ...base, context, canvas: call.currentCanvas ?? {}, contact: people.contact };
    if (call.flow === 'submit')
      return { ...base, context, ...people, user: people.contact, ...submitted(call) };
    return { ...base, context, card_creation_options: call.cardCreationOptions ?? {} };
  }
  const admin = requireKnown(state.admins.get(call.adminId ?? ''), `teammate ${call.adminId}`);
  const conversation = requireKnown(
    state.conversations.get(call.conversationId ?? ''),
    `conversation ${call.conversationId}`,
  );
  return {
    ...base,
    admin: { ...adminView(admin), ...(admin.locale === undefined ? {} : { locale: admin.locale }) },
    conversation: conversationView(state, conversation),
    ...people,
    ...(call.flow === 'submit' ? submitted(call) : {}),
  };
}

/** The contact in the current and in the legacy model: real requests have been seen with both. */
function peopleOf(state: IntercomState, call: CanvasCall): Record<string, unknown> {
  if (call.withoutContact) return {};
  const fallback = state.conversations.get(call.conversationId ?? '')?.contactIds[0];
  const id = call.contactId ?? fallback;
  if (id === undefined && call.place === 'messenger') return {};
  const contact = requireKnown(state.contacts.get(id ?? ''), `contact ${id}`);
  // UNVERIFIED which fields of a deleted contact a request has. The webhook of the deletion has just these.
  if (contact.deleted) {
    return { contact: { type: 'contact', id: contact.id, external_id: contact.externalId, deleted: true } };
  }
  const customer = {
    type: 'user',
    id: contact.id,
    user_id: contact.externalId,
    email: contact.email,
    phone: null,
    name: contact.name,
    custom_attributes: contact.customAttributes,
    location_data: { type: 'location_data' },
  };
  return { contact: contactView(contact), customer };
}

function submitted(call: CanvasCall): Record<string, unknown> {
  const canvas = call.currentCanvas ?? {};
  if (call.componentId === undefined) throw new Error('A submit needs a componentId');
  if (call.currentCanvas !== undefined && !pressableIds(canvas).includes(call.componentId)) {
    throw new Error(
      `"${call.componentId}" cannot be pressed; on the canvas: ${pressableIds(canvas).join(', ')}`,
    );
  }
  return {
    component_id: call.componentId,
    input_values: { ...presetValues(canvas), ...call.inputValues },
    current_canvas: { content: canvas.content ?? { components: [] }, stored_data: canvas.stored_data ?? {} },
  };
}

function requireKnown<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`Unknown ${what}`);
  return value;
}
