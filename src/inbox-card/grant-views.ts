import { randomUUID } from 'node:crypto';
import { AppError } from '../errors.ts';
import { DURATIONS, endOfDuration, isDuration } from '../grants/durations.ts';
import { makeGrant, revokeGrant, SAME_GRANT_MS } from '../grants/grant.ts';
import { checkPolicy } from '../grants/policy.ts';
import {
  countThisMonth,
  type Entitlement,
  type Grant,
  listEntitlements,
  listGrants,
  readGrant,
} from '../grants/store.ts';
import {
  button,
  type Component,
  choice,
  escapeMarkdown,
  type InboxCanvas,
  item,
  list,
  option,
  table,
  text,
} from '../intercom/canvas.ts';
import { entitlementLabel } from '../subscribers/describe-event.ts';
import { isBlockedId } from '../subscribers/identities.ts';
import { type Customer, page, type Visit } from './context.ts';
import { endText } from './sentence.ts';

/** What the agent has filled in so far. */
interface Filled {
  readonly entitlement?: string | undefined;
  readonly duration?: string | undefined;
  readonly reason?: string | undefined;
}

/** Lets the agent choose; what the customer has now stands first. */
export async function grantForm(
  visit: Visit,
  customer: Customer,
  filled: Filled = {},
  problem?: string,
): Promise<InboxCanvas> {
  const { words, context, request } = visit;
  if (customer.project.apiKey === null) return page(visit, [text(words.states.noKey, 'muted')]);
  const entitlements = await readEntitlements(visit, customer);
  if (entitlements.length === 0) return page(visit, [text(words.states.noEntitlements, 'muted')]);
  const made = await countThisMonth(context.readDatabase, request.workspaceId, request.admin.id);
  const refusal = checkPolicy(visit.workspace.settings.grants, {
    adminId: request.admin.id,
    duration: 'daily',
    reason: 'not asked yet',
    madeThisMonth: made,
  });
  // A refusal that no choice in the form could change is told before anything is filled in.
  if (refusal) return page(visit, [text(words.refusal(refusal), 'muted')]);
  const settings = visit.workspace.settings.grants;
  const durations = DURATIONS.filter((duration) => duration !== 'lifetime' || settings.lifetimeAllowed);
  return page(visit, [
    text(words.titles.grant, 'header', true),
    text(`${words.labels.hasNow}: ${escapeMarkdown(accessNow(visit, customer))}`, 'muted'),
    ...(problem ? [text(problem, 'error')] : []),
    choice(
      'grant.entitlement',
      words.labels.entitlement,
      entitlements
        .slice(0, 10)
        .map((entitlement) => option(entitlement.id, entitlement.displayName ?? entitlement.lookupKey)),
      filled.entitlement ?? entitlements[0]?.id,
    ),
    choice(
      'grant.duration',
      words.labels.duration,
      durations.map((duration) => option(duration, words.durations[duration])),
      filled.duration ?? 'monthly',
    ),
    {
      type: 'textarea',
      id: 'grant.reason',
      label: words.labels.reason,
      placeholder: words.reasonPlaceholder,
      ...(filled.reason ? { value: filled.reason } : {}),
    },
    button('grant.review', words.buttons.review, 'primary'),
  ]);
}

async function readEntitlements(visit: Visit, customer: Customer): Promise<Entitlement[]> {
  const { context, request } = visit;
  const known = await listEntitlements(context.readDatabase, request.workspaceId, customer.project.projectId);
  if (known.length > 0) return known;
  try {
    const live = await context
      .revenueCat(customer.project)
      ?.listEntitlements(customer.project.revenueCatProjectId);
    return live ? [...live] : [];
  } catch (error) {
    if (error instanceof AppError) return [];
    throw error;
  }
}

function accessNow(visit: Visit, customer: Customer): string {
  const { words } = visit;
  const parts = customer.state.entitlements.map(
    (entitlement) =>
      `${entitlementLabel(entitlement.lookupKey, customer.names)} (${endText(visit, entitlement.endsAtMs)})`,
  );
  return parts.length > 0 ? parts.join(', ') : words.nothing;
}

/** Says exactly what will happen, and gives the confirm button a key that works once. */
export async function grantReview(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { words, context, request } = visit;
  const filled: Filled = {
    entitlement: request.inputs['grant.entitlement'],
    duration: request.inputs['grant.duration'],
    reason: (request.inputs['grant.reason'] ?? '').trim().slice(0, 1_000),
  };
  const entitlements = await readEntitlements(visit, customer);
  const entitlement = entitlements.find((candidate) => candidate.id === filled.entitlement);
  if (!entitlement || !isDuration(filled.duration)) return grantForm(visit, customer, filled);
  const made = await countThisMonth(context.database, request.workspaceId, request.admin.id);
  const refusal = checkPolicy(visit.workspace.settings.grants, {
    adminId: request.admin.id,
    duration: filled.duration,
    reason: filled.reason ?? '',
    madeThisMonth: made,
  });
  if (refusal) return grantForm(visit, customer, filled, words.refusal(refusal));
  if (customer.appUserId === '' || isBlockedId(customer.appUserId)) {
    return page(visit, [text(words.states.unknownCustomer, 'error')]);
  }
  const nowMs = context.now();
  const current = customer.state.entitlements.find(
    (candidate) => candidate.lookupKey === entitlement.lookupKey,
  );
  // An access that was granted is extended: a month on top of what is left.
  const fromMs =
    current?.source === 'promotional' && current.endsAtMs !== null
      ? Math.max(nowMs, current.endsAtMs)
      : nowMs;
  const endMs = endOfDuration(filled.duration, fromMs);
  const label = entitlement.displayName ?? entitlement.lookupKey;
  const warnings: string[] = [];
  if (current) {
    const currentEnd = endText(visit, current.endsAtMs);
    const currentEndMs = current.endsAtMs ?? Number.POSITIVE_INFINITY;
    if (current.source !== 'promotional' && currentEndMs >= endMs)
      warnings.push(words.paidUntilLater(currentEnd));
    else if (Math.abs(currentEndMs - endMs) <= SAME_GRANT_MS) warnings.push(words.sameGrant(currentEnd));
  }
  if (customer.state.subscriptions.some((subscription) => subscription.willRenew))
    warnings.push(words.stillPays);
  const components: Component[] = [
    text(words.titles.review, 'header', true),
    ...table([
      [words.labels.appUserId, customer.appUserId],
      [words.labels.hasNow, accessNow(visit, customer)],
      [words.labels.reason, filled.reason],
    ]),
    text(`${words.labels.gets}: ${words.grantReview(escapeMarkdown(label), endText(visit, endMs))}`),
    ...warnings.map((warning) => text(warning, 'muted')),
    button('grant.confirm', words.buttons.confirm, 'primary'),
  ];
  return page(visit, components, {
    grant: {
      key: randomUUID(),
      subscriberId: customer.subscriber.subscriberId,
      entitlementId: entitlement.id,
      duration: filled.duration,
      reason: filled.reason ?? '',
      endMs,
    },
  });
}

/** Makes the grant that was reviewed; pressed twice, shows the first one's result. */
export async function grantConfirm(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { words, context, request, carried } = visit;
  const wanted = carried.grant;
  if (!wanted || wanted.subscriberId !== customer.subscriber.subscriberId || !isDuration(wanted.duration)) {
    return page(visit, [text(words.states.tampered, 'error')]);
  }
  const entitlement = (await readEntitlements(visit, customer)).find(
    (candidate) => candidate.id === wanted.entitlementId,
  );
  if (!entitlement) return page(visit, [text(words.states.noEntitlements, 'error')]);
  const earlier = (await listGrants(context.database, request.workspaceId, wanted.subscriberId)).length;
  const made = await countThisMonth(context.database, request.workspaceId, request.admin.id);
  const refusal = checkPolicy(visit.workspace.settings.grants, {
    adminId: request.admin.id,
    duration: wanted.duration,
    reason: wanted.reason,
    // The first press of this very button may be counted already.
    madeThisMonth: earlier > 0 ? Math.max(0, made - 1) : made,
  });
  if (refusal) return grantForm(visit, customer, wanted, words.refusal(refusal));
  const grant = await makeGrant(context, customer.project, {
    workspaceId: request.workspaceId,
    projectId: customer.project.projectId,
    subscriberId: wanted.subscriberId,
    appUserId: customer.appUserId,
    entitlementId: entitlement.id,
    lookupKey: entitlement.lookupKey,
    duration: wanted.duration,
    askedEndMs: wanted.endMs,
    reason: wanted.reason,
    idempotencyKey: wanted.key,
    admin: request.admin,
    conversationId: request.conversationId,
    contactId: request.contact.id || null,
  });
  return grantResult(visit, customer, grant);
}

function grantResult(visit: Visit, customer: Customer, grant: Grant): InboxCanvas {
  const { words } = visit;
  const label = escapeMarkdown(entitlementLabel(grant.lookupKey, customer.names));
  if (grant.state === 'failed')
    return page(visit, [
      text(words.failure(grant.error ?? ''), 'error'),
      button('grant', words.buttons.grant, 'secondary'),
    ]);
  if (grant.state === 'requested') {
    return page(visit, [
      text(words.grantPending, 'muted'),
      button(`grant:${grant.grantId}`, words.buttons.refresh, 'secondary'),
    ]);
  }
  if (grant.state === 'revoked') return page(visit, [text(words.revokeDone(label))]);
  const realEndMs = grant.realEndMs ?? grant.askedEndMs;
  const end = endText(visit, realEndMs);
  return page(visit, [
    text(words.grantDone(label, end)),
    ...(realEndMs < grant.askedEndMs - SAME_GRANT_MS ? [text(words.grantEndsEarlier(end), 'muted')] : []),
    text(words.tellCustomer(label, end), 'muted'),
    ...table([
      [words.labels.grantedBy, grant.admin.name],
      [words.labels.reason, grant.reason],
    ]),
    button(`revoke:${grant.grantId}`, words.buttons.revoke, 'link'),
  ]);
}

export function grantsList(visit: Visit, customer: Customer): InboxCanvas {
  const { words, dates } = visit;
  const components: Component[] = [text(words.titles.grants, 'header')];
  if (customer.grants.length === 0) components.push(text(words.states.noGrants, 'muted'));
  else {
    components.push(
      list(
        customer.grants.slice(0, 20).map((grant) =>
          item(
            `grant:${grant.grantId}`,
            `${entitlementLabel(grant.lookupKey, customer.names)} · ${stateWord(visit, grant)}`,
            {
              subtitle: [grant.admin.name, grant.reason].filter(Boolean).join(' · ').slice(0, 200),
              tertiary: dates.date(grant.createdAtMs),
            },
          ),
        ),
      ),
    );
  }
  components.push(button('grant', words.buttons.grant, 'secondary'));
  return page(visit, components);
}

function stateWord(visit: Visit, grant: Grant): string {
  const { words } = visit;
  if (grant.state === 'revoked' || grant.state === 'failed') return words.labels.ended;
  return endText(visit, grant.realEndMs ?? grant.askedEndMs);
}

/** `null`: the grant is not this customer's. */
export async function findGrant(visit: Visit, customer: Customer, grantId: string): Promise<Grant | null> {
  const grant = await readGrant(visit.context.database, visit.request.workspaceId, grantId);
  return grant && grant.subscriberId === customer.subscriber.subscriberId ? grant : null;
}

export async function grantView(visit: Visit, customer: Customer, grantId: string): Promise<InboxCanvas> {
  const grant = await findGrant(visit, customer, grantId);
  return grant ? grantResult(visit, customer, grant) : page(visit, [text(visit.words.states.gone, 'muted')]);
}

export async function revokeReview(visit: Visit, customer: Customer, grantId: string): Promise<InboxCanvas> {
  const { words } = visit;
  const grant = await findGrant(visit, customer, grantId);
  if (grant?.state !== 'confirmed') return page(visit, [text(words.states.gone, 'muted')]);
  const label = escapeMarkdown(entitlementLabel(grant.lookupKey, customer.names));
  return page(
    visit,
    [
      text(words.titles.revoke, 'header', true),
      text(words.revokeReview(label, endText(visit, grant.realEndMs ?? grant.askedEndMs))),
      button('revoke.confirm', words.buttons.revoke, 'primary'),
    ],
    { revoke: grant.grantId },
  );
}

export async function revokeConfirm(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { words, context, request, carried } = visit;
  const grant = carried.revoke === undefined ? null : await findGrant(visit, customer, carried.revoke);
  if (!grant) return page(visit, [text(words.states.tampered, 'error')]);
  const policy = visit.workspace.settings.grants;
  const allowed = policy.allowedAdminIds.length === 0 || policy.allowedAdminIds.includes(request.admin.id);
  if (!policy.enabled || !allowed)
    return page(visit, [text(words.refusal({ code: 'not_allowed' }), 'error')]);
  const { failure } = await revokeGrant(context, customer.project, grant, {
    admin: request.admin,
    conversationId: request.conversationId,
  });
  if (failure) return page(visit, [text(words.failure(failure), 'error')]);
  return page(visit, [
    text(words.revokeDone(escapeMarkdown(entitlementLabel(grant.lookupKey, customer.names)))),
  ]);
}
