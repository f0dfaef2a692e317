import { z } from 'zod';
import { isRecord } from '../../text.ts';
import { GRANT_STARTS, STORE_ACTIONS, type StoreActionDetails } from '../types.ts';

const end = z.number().nullable();

/** What the canvases of actions carry to the next request, signed with the rest. Times are epoch ms. */
export const actionFormState = {
  /** Of the form: what its fields do not hold. */
  form: z
    .object({
      page: z.number(),
      /** A grant that is to be extended: its entitlement. */
      entitlementId: z.string().optional(),
    })
    .optional(),
  /** Of the review: what was typed, what results from it, and the key under which it is made once. */
  grant: z
    .object({
      key: z.string(),
      subscriberId: z.string(),
      appUserId: z.string(),
      entitlementId: z.string(),
      duration: z.string(),
      start: z.enum(GRANT_STARTS),
      end: z.string(),
      reason: z.string(),
      endMs: z.number(),
      /** What the review showed as the customer's current access. */
      grantEndMs: end,
      boughtEndMs: end,
      reviewedAtMs: z.number(),
    })
    .optional(),
  /** Of a grant that waits for approval: what the second teammate was shown. */
  decide: z.object({ actionId: z.string(), endMs: z.number(), grantEndMs: end }).optional(),
  /** Of the form of a store action: what it is about. */
  actionForm: z.object({ kind: z.enum(STORE_ACTIONS), subscription: z.string() }).optional(),
  /** Of the review of a store action. */
  action: z
    .object({
      key: z.string(),
      kind: z.enum(STORE_ACTIONS),
      subscription: z.string(),
      subscriberId: z.string(),
      appUserId: z.string(),
      target: z.string(),
      details: z.custom<StoreActionDetails>(isRecord),
      reason: z.string(),
      reviewedAtMs: z.number(),
    })
    .optional(),
  /** The store action that a second teammate decides on. */
  decideAction: z.string().optional(),
  /** The grant that is to be revoked. */
  revoke: z.string().optional(),
  /** First and last grant of the page shown. */
  grants: z.object({ first: z.string(), last: z.string() }).optional(),
};

const schema = z.object(actionFormState);

export type ActionFormState = z.infer<typeof schema>;

/** A grant that was reviewed. */
export type ReviewedGrant = NonNullable<ActionFormState['grant']>;

/** A store action that was reviewed. */
export type ReviewedAction = NonNullable<ActionFormState['action']>;
