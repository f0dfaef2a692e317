import assert from 'node:assert/strict';
import type { ActionState } from '../../src/grants/action.ts';
import { createRevenueCatClient } from '../../src/revenuecat/client.ts';
import type { RevenueCatEvent, Subscription } from '../../src/simulator/revenuecat/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { idsOn, type OpenCard, openFor } from '../inbox-card/support.ts';
import { createTestContext } from '../support/app-context.ts';
import { type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

/** The time of a call that RevenueCat can no longer be working on. */
export function threeMinutesAgo(): Date {
  return new Date(Date.now() - 180_000);
}

/** Another teammate, who may approve the first one's requests. */
export const SECOND = '7002';

let number = 0;

/** Creates a customer that both platforms know, and opens the card in their conversation. */
export async function openCustomer(
  product: Product,
  options: { adminId?: string; aliases?: readonly string[]; id?: string } = {},
): Promise<OpenCard & { readonly appUserId: string }> {
  const appUserId = addCustomer(product, options);
  await announce(product, appUserId);
  return openCardOf(product, appUserId, options);
}

/** Creates a customer in RevenueCat that this app does not know yet. */
export function addCustomer(
  { revenueCat }: Product,
  options: { aliases?: readonly string[]; id?: string } = {},
): string {
  number += 1;
  const id = options.id ?? `granted_${number}_${Math.random().toString(36).slice(2, 8)}`;
  revenueCat.addCustomer(REVENUECAT_PROJECT_ID, {
    id,
    ...(options.aliases ? { aliases: options.aliases } : {}),
  });
  return id;
}

export async function openCardOf(
  product: Product,
  appUserId: string,
  options: { adminId?: string } = {},
): Promise<OpenCard & { readonly appUserId: string }> {
  const card = await openFor(product, { externalId: appUserId, name: `Customer ${number}` }, options);
  return { ...card, appUserId };
}

/** Sends a webhook that says only that the customer exists. */
export async function announce(product: Product, appUserId: string): Promise<void> {
  const event: RevenueCatEvent = {
    type: 'EXPERIMENT_ENROLLMENT',
    id: `hello-${appUserId}`,
    app_user_id: appUserId,
    original_app_user_id: appUserId,
    aliases: [appUserId],
    event_timestamp_ms: Date.now() - 60 * DAY_MS,
    experiment_id: 'e1',
  };
  const answers = await product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, event);
  assert.ok(answers.every(({ status }) => status === 200));
}

/** Gives a customer a paid subscription or a grant in RevenueCat, outside this app. */
export function give(
  product: Product,
  appUserId: string,
  what: { store?: string; endsAtMs: number; entitlement?: string; willRenew?: boolean },
): Subscription {
  const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
  const customer = project?.aliases.get(appUserId);
  const entitlement = project?.entitlements.find(
    ({ lookupKey }) => lookupKey === (what.entitlement ?? 'pro'),
  );
  assert.ok(customer && entitlement);
  const store = what.store ?? 'promotional';
  const subscription: Subscription = {
    id: `sub${Math.random().toString(36).slice(2)}`,
    customerId: customer.id,
    originalCustomerId: customer.id,
    productId: null,
    store,
    environment: 'production',
    status: 'active',
    autoRenewalStatus: (what.willRenew ?? store !== 'promotional') ? 'will_renew' : 'will_not_renew',
    givesAccess: true,
    startsAtMs: Date.now() - DAY_MS,
    periodStartsAtMs: Date.now() - DAY_MS,
    periodEndsAtMs: what.endsAtMs,
    endsAtMs: what.endsAtMs,
    entitlementIds: [entitlement.id],
    storeSubscriptionId: null,
    grossUsd: 0,
    country: null,
    managementUrl: null,
  };
  customer.subscriptions.push(subscription);
  return subscription;
}

/** A customer's active grants in RevenueCat. */
export function grantsAt(product: Product, appUserId: string): Subscription[] {
  const customer = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID)?.aliases.get(appUserId);
  return (customer?.subscriptions ?? []).filter(
    ({ store, givesAccess, endsAtMs }) =>
      store === 'promotional' && givesAccess && (endsAtMs ?? 0) > Date.now(),
  );
}

/** How often RevenueCat was called to grant something to a customer, whatever the result. */
export function callsFor(product: Product, appUserId: string): number {
  return product.revenueCat.state.grantRequests.filter(({ customerId }) => customerId === appUserId).length;
}

/** Asserts that no row is twice on the canvas, in the same table or in two. */
export function assertRowsOnce({ canvas }: OpenCard): void {
  const fields = (canvas.content?.components ?? []).flatMap((each) =>
    each.type === 'data-table' ? each.items.map(({ field }) => field) : [],
  );
  assert.deepEqual(fields, [...new Set(fields)]);
}

export interface GrantInput {
  readonly entitlement?: string;
  readonly duration?: string;
  readonly start?: 'after' | 'now';
  readonly end?: string;
  readonly reason?: string;
}

/** Fills in the form and presses *Review*. */
export async function review(card: OpenCard, input: GrantInput = {}): Promise<OpenCard> {
  let form = idsOn(card.canvas).includes('grant.review') ? card : await card.press('grant');
  // The form offers a start only once our own data shows that the customer has access.
  if (input.start !== undefined && !idsOn(form.canvas).includes('grant.start'))
    form = await (await (await form.press('home')).press('refresh')).press('grant');
  return form.press('grant.review', {
    ...(input.entitlement === undefined ? {} : { 'grant.entitlement': input.entitlement }),
    'grant.duration': input.duration ?? 'monthly',
    ...(input.start === undefined ? {} : { 'grant.start': input.start }),
    ...(input.end === undefined ? {} : { 'grant.end': input.end }),
    'grant.reason': input.reason ?? 'Lost a week to an outage',
  });
}

/** Grants, and returns the result. */
export async function grantOf(card: OpenCard, input: GrantInput = {}): Promise<OpenCard> {
  return (await review(card, input)).confirm('grant.confirm');
}

/** The id of the grant that a canvas is about. */
export function grantIdOn(card: OpenCard): string {
  const id = idsOn(card.canvas).find((each) => /^(revoke|grant|extend):/.test(each));
  assert.ok(id, card.text);
  return id.slice(id.indexOf(':') + 1);
}

export async function stored(
  product: Product,
  appUserId: string,
): Promise<
  {
    action_id: string;
    state: ActionState;
    error: string | null;
    actual_end_at: Date | null;
    requested_end_at: Date;
    unchanged: boolean;
  }[]
> {
  return product.server.connected.database.query(
    `select action_id, state, error, actual_end_at, requested_end_at, unchanged from actions
      where workspace_id = $1 and app_user_id = $2 order by created_at`,
    [WORKSPACE_ID, appUserId],
  );
}

export async function audited(
  product: Product,
  appUserId: string,
): Promise<
  { action: string; result: string; actor: string; conversation: string; details: Record<string, unknown> }[]
> {
  return product.server.connected.database.query(
    `select action, result, actor->>'id' as actor, conversation_id as conversation, details from audit_log
      where workspace_id = $1 and details->>'app_user_id' = $2 order by audit_id`,
    [WORKSPACE_ID, appUserId],
  );
}

/** Bodies of the notes in a conversation, each with its author. */
export function notesIn(product: Product, card: OpenCard): { body: string; authorId: string }[] {
  const parts = product.intercom.state.conversations.get(card.conversationId)?.parts ?? [];
  return parts
    .filter(({ partType }) => partType === 'note')
    .map(({ body, authorId }) => ({ body: body ?? '', authorId: authorId ?? '' }));
}

export async function noteIn(product: Product, card: OpenCard, wanted: RegExp): Promise<string> {
  const note = await until(
    () => notesIn(product, card).find(({ body }) => wanted.test(body)),
    `a note like ${wanted}`,
  );
  return note.body;
}

/** Writes the grant policy; what is left out is the default. */
export async function setPolicy(product: Product, policy: Record<string, unknown>): Promise<void> {
  await product.server.connected.database.query(
    `update workspaces set settings = jsonb_set(settings, '{grants}', $2::jsonb) where workspace_id = $1`,
    [WORKSPACE_ID, JSON.stringify(policy)],
  );
}

/** Matches one kind of call to RevenueCat, for a fault. */
export function onGranting(
  appUserId: string,
  action = 'grant_entitlement',
): { pathPrefix: string; method: string } {
  return { pathPrefix: `${pathOf(appUserId)}/actions/${action}`, method: 'POST' };
}

export function pathOf(appUserId: string): string {
  return `/v2/projects/${REVENUECAT_PROJECT_ID}/customers/${encodeURIComponent(appUserId)}`;
}

/** The context of another worker, next to the product's own. */
export function contextOf(product: Product) {
  const [apiKey = ''] = product.revenueCat.state.keys.keys();
  const apiUrl = product.environment.REVENUECAT_API_URL ?? '';
  return createTestContext(product.server.connected.database, {
    revenueCat: () => createRevenueCatClient({ apiUrl, apiKey }),
  });
}
