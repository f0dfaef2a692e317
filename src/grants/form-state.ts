import { z } from 'zod';
import { isRecord } from '../text.ts';
import { MINUTE_MS } from '../time.ts';
import { grantTerms, STORE_ACTION_KINDS, type StoreActionDetails } from './action.ts';

/** A review older than this is shown again before it is confirmed. */
export const REVIEW_VALID_MS = 30 * MINUTE_MS;

const reviewFields = {
  /** The idempotency key: the action is done once for each key. */
  key: z.string(),
  subscriberId: z.string(),
  appUserId: z.string(),
  target: z.string(),
  reason: z.string(),
  reviewedAtMs: z.number(),
};

const reviewedGrantSchema = grantTerms.extend({
  ...reviewFields,
  boughtEndMs: z.number().nullable(),
  /** The customer's access at the review; `isStored`: RevenueCat did not respond. */
  access: z.object({
    items: z.array(z.object({ name: z.string(), endMs: z.number() })),
    isStored: z.boolean(),
  }),
});

const reviewedStoreActionSchema = z.object({
  ...reviewFields,
  kind: z.enum(STORE_ACTION_KINDS),
  details: z.custom<StoreActionDetails>(isRecord),
});

/** What is typed or chosen in forms. Each name is the part of a component's id after the dot. */
export const formFields = z
  .object({
    entitlement: z.string(),
    duration: z.string(),
    start: z.string(),
    end: z.string(),
    days: z.string(),
    /** Apple's reason for an extension. */
    code: z.string(),
    transaction: z.string(),
    target: z.string(),
    order: z.string(),
    reason: z.string(),
  })
  .partial();

const commonFields = formFields.extend({
  /** The purchase that the action is about, as in the component id `subscription:<id>`. */
  subscription: z.string().optional(),
  /** The page of entitlements or charges shown, from 0; absent: the page that has the chosen one. */
  page: z.number().optional(),
  /** The form extends a running grant, and its title says so. */
  extends: z.boolean().optional(),
});

const formSchema = z.discriminatedUnion('kind', [
  commonFields.extend({ kind: z.literal('grant') }),
  commonFields.extend({ kind: z.enum(STORE_ACTION_KINDS) }),
]);

/** What canvases of actions pass on to the next request, signed with the card's form state. Times are epoch ms. */
export const actionFormState = {
  /** Values that a form has no field for. After a review, or when RevenueCat could not be read, also what was typed. */
  form: formSchema.optional(),
  /** What was reviewed, or is to be approved. */
  review: z.union([reviewedGrantSchema, reviewedStoreActionSchema]).optional(),
  /** The action that waits for approval, or the grant that is to be revoked. */
  action: z.string().optional(),
};

const actionFormStateSchema = z.object(actionFormState);

export type ActionFormState = z.infer<typeof actionFormStateSchema>;
/** What the agent has filled in so far. */
export type Form = z.infer<typeof formSchema>;
export type GrantForm = Extract<Form, { kind: 'grant' }>;
export type StoreForm = Exclude<Form, GrantForm>;
export type ReviewedGrant = z.infer<typeof reviewedGrantSchema>;
export type ReviewedStoreAction = z.infer<typeof reviewedStoreActionSchema>;
export type Reviewed = ReviewedGrant | ReviewedStoreAction;
