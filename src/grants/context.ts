import { z } from 'zod';
import { AppError, nullOn } from '../errors.ts';
import type { Language } from '../i18n/languages.ts';
import type { Messages } from '../i18n/messages.ts';
import type { InboxCanvas, Part } from '../intercom/canvas.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { isAnonymous, preferredAppUserIds } from '../subscription/identities.ts';
import type { Names } from '../subscription/names.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { isRecord } from '../text.ts';
import { MINUTE_MS, withTimeout } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { type Project, setApiKeyState } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/store.ts';
import { GRANT_STARTS, STORE_ACTION_KINDS, type StoreActionDetails, type Teammate } from './action.ts';
import { failed } from './action-error.ts';
import { DURATIONS } from './durations.ts';

/** A review older than this is shown again before it is confirmed. */
export const REVIEW_VALID_MS = 30 * MINUTE_MS;
/** A customer is known under any of their ids, and has few. */
const MAX_IDS = 3;
/** How long a view waits for RevenueCat before it shows what is stored, ms. */
export const READ_TIMEOUT_MS = 2_000;
/** The SDK's preview mode gives every user this id. */
const PREVIEW_ID = '$RC_PREVIEW_MODE_USER';

/** The customer of a card, as the actions need it. */
export interface ActionCustomer {
  readonly subscriber: {
    readonly subscriberId: string;
    readonly appUserIds: readonly string[];
    readonly snapshotAtMs: number | null;
  };
  readonly project: Project;
  readonly state: SubscriberState;
  readonly latest: readonly { readonly atMs: number }[];
  readonly names: Names;
  /** The preferred id. */
  readonly appUserId: string;
}

/** A teammate's request about one customer: what the rules need of the inbox card's context. */
export interface ActionContext {
  readonly services: AppContext;
  readonly workspace: Workspace;
  readonly customer: ActionCustomer;
  readonly request: {
    readonly admin: Teammate;
    readonly conversationId: string | null;
    readonly contact: { readonly id: string };
  };
}

/** The same, as views of actions need it. */
export interface ViewContext extends ActionContext {
  readonly request: ActionContext['request'] & {
    readonly contact: { readonly language: Language | null };
    readonly inputs: Readonly<Record<string, string>>;
  };
  /** In the teammate's language. */
  readonly messages: Messages;
  readonly formState: ActionFormState;
  /** The canvas was drawn more than 30 minutes ago: a view that changes something shows its review again. */
  readonly isOutdated: boolean;
  /** A canvas with a way back, which carries `formState` to the next request. */
  page(parts: readonly Part[], formState?: ActionFormState): InboxCanvas;
}

const reviewed = {
  /** The action is made once under it. */
  key: z.string(),
  subscriberId: z.string(),
  appUserId: z.string(),
  target: z.string(),
  reason: z.string(),
  reviewedAtMs: z.number(),
};

const reviewedGrant = z.object({
  ...reviewed,
  kind: z.literal('grant'),
  lookupKey: z.string(),
  entitlementName: z.string(),
  duration: z.enum([...DURATIONS, 'custom']),
  start: z.enum(GRANT_STARTS),
  /** The end as it was typed, for the form. */
  end: z.string(),
  requestedEndMs: z.number(),
  previousEndMs: z.number().nullable(),
  boughtEndMs: z.number().nullable(),
  /** The customer's access at the review; stored: RevenueCat did not respond. */
  access: z.object({
    items: z.array(z.object({ name: z.string(), endMs: z.number() })),
    isStored: z.boolean(),
  }),
});

const reviewedStoreAction = z.object({
  ...reviewed,
  kind: z.enum(STORE_ACTION_KINDS),
  /** Of the page that the review came from; empty for a transfer. */
  subscription: z.string(),
  details: z.custom<StoreActionDetails>(isRecord),
});

const typed = z.string().optional();

const grantForm = z.object({
  kind: z.literal('grant'),
  entitlement: typed,
  duration: typed,
  start: typed,
  end: typed,
  reason: typed,
  /** The page of entitlements that it shows: from 0; −1 is the page of the chosen one. */
  page: z.number(),
  /** For more of one entitlement: the form says that it extends a grant. */
  extends: z.boolean().optional(),
});

const storeForm = z.object({
  kind: z.enum(STORE_ACTION_KINDS),
  /** Of the subscription's page; empty for a transfer. */
  subscription: z.string(),
  days: typed,
  reasonCode: typed,
  transaction: typed,
  target: typed,
  order: typed,
  reason: typed,
});

/** What the canvases of actions carry to the next request, signed with the rest. Times are epoch ms. */
export const actionFormState = {
  /** What the fields of a form do not hold, and what was typed when RevenueCat could not be read. */
  form: z.union([grantForm, storeForm]).optional(),
  /** What was reviewed, or is to be approved. */
  review: z.union([reviewedGrant, reviewedStoreAction]).optional(),
  /** The action that waits for approval. */
  decide: z.string().optional(),
  /** The grant that is to be revoked. */
  revoke: z.string().optional(),
  /** The page of the list, from 0. */
  grants: z.number().int().min(0).optional(),
};

const schema = z.object(actionFormState);

export type ActionFormState = z.infer<typeof schema>;
export type GrantForm = z.infer<typeof grantForm>;
export type StoreForm = z.infer<typeof storeForm>;
/** What the agent has filled in so far. */
export type Form = GrantForm | StoreForm;
export type ReviewedGrant = z.infer<typeof reviewedGrant>;
export type ReviewedStoreAction = z.infer<typeof reviewedStoreAction>;
export type Reviewed = ReviewedGrant | ReviewedStoreAction;

/** Ids to act with, best first; empty: RevenueCat accepts none. */
export function usableIds(customer: ActionCustomer): string[] {
  const { appUserIds } = customer.subscriber;
  const ids = customer.appUserId === '' ? appUserIds : [customer.appUserId, ...appUserIds];
  return preferredAppUserIds(ids).filter((id) => id !== PREVIEW_ID);
}

export function isAnonymousOnly(customer: ActionCustomer): boolean {
  return usableIds(customer).every(isAnonymous);
}

/**
 * Reads something of the customer, by the first id that RevenueCat knows, within the time that an agent waits.
 *
 * @throws ActionError when RevenueCat refuses, does not respond, or knows none of the ids
 */
export function readCustomer<T>(
  context: ActionContext,
  read: (client: RevenueCatClient, appUserId: string) => Promise<T>,
): Promise<T> {
  return readNow(context, async (client) => {
    for (const appUserId of usableIds(context.customer).slice(0, MAX_IDS)) {
      const found = await nullOn('revenuecat_not_found', read(client, appUserId));
      if (found !== null) return found;
    }
    throw failed('unknown_customer');
  });
}

/**
 * Reads from RevenueCat within the time that an agent waits.
 *
 * @throws ActionError when RevenueCat refuses or does not respond
 */
export async function readNow<T>(
  { services, customer }: ActionContext,
  read: (client: RevenueCatClient) => Promise<T>,
): Promise<T> {
  const { workspaceId } = customer.project;
  const client = services.revenueCat(customer.project, { timeoutMs: READ_TIMEOUT_MS });
  if (!client) throw failed('revenuecat_unauthorized');
  try {
    return await withTimeout(read(client), READ_TIMEOUT_MS, () => {
      throw failed('revenuecat_unavailable');
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'revenuecat_unauthorized')
      await setApiKeyState(services.database, customer.project, 'rejected');
    services.logger.warn({ code: error.code, workspaceId }, 'not read from RevenueCat');
    throw failed(error.code);
  }
}
