import { z } from 'zod';
import { isRecord } from '../text.ts';
import { GRANT_STARTS, STORE_ACTIONS, type StoreActionDetails } from './action.ts';
import { DURATIONS } from './durations.ts';

const end = z.number().nullable();
const typed = z.string().optional();

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
  previousEndMs: end,
  boughtEndMs: end,
  /** The customer's access at the review; stored: RevenueCat did not respond. */
  access: z.object({
    items: z.array(z.object({ name: z.string(), endMs: z.number() })),
    isStored: z.boolean(),
  }),
});

const reviewedStoreAction = z.object({
  ...reviewed,
  kind: z.enum(STORE_ACTIONS),
  /** Of the page that the review came from; empty for a transfer. */
  subscription: z.string(),
  details: z.custom<StoreActionDetails>(isRecord),
});

/** What the canvases of actions carry to the next request, signed with the rest. Times are epoch ms. */
export const actionFormState = {
  /** Of the form of a grant: what its fields do not hold. */
  form: z
    .object({
      page: z.number(),
      /** A grant that is to be extended: its entitlement. */
      entitlementId: z.string().optional(),
    })
    .optional(),
  /** Of the form of a store action: what it is about. */
  actionForm: z
    .object({
      kind: z.enum(STORE_ACTIONS),
      subscription: z.string(),
      /** What was typed when RevenueCat could not be read. */
      days: typed,
      reasonCode: typed,
      transaction: typed,
      target: typed,
      order: typed,
      reason: typed,
    })
    .optional(),
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
export type ReviewedGrant = z.infer<typeof reviewedGrant>;
export type ReviewedStoreAction = z.infer<typeof reviewedStoreAction>;
export type Reviewed = ReviewedGrant | ReviewedStoreAction;
