import { z } from 'zod';

/** What the canvases of granting carry to the next request, signed with the rest. Times are epoch ms. */
export const grantCarried = {
  /** Of the form: what does not stand in its fields. */
  form: z
    .object({
      page: z.number(),
      /** The duration is added to the end of what is granted now. */
      isAdded: z.boolean(),
      /** A grant that is to be extended: its entitlement. */
      entitlementId: z.string().optional(),
    })
    .optional(),
  /** Of the review: what was typed, what comes of it, and the key under which it is made once. */
  grant: z
    .object({
      key: z.string(),
      subscriberId: z.string(),
      appUserId: z.string(),
      entitlementId: z.string(),
      duration: z.string(),
      end: z.string(),
      reason: z.string(),
      isAdded: z.boolean(),
      endMs: z.number(),
      /** What the teammate has seen that the customer has. */
      grantEndMs: z.number().nullable(),
      boughtEndMs: z.number().nullable(),
      reviewedAtMs: z.number(),
    })
    .optional(),
  /** Of a grant that waits for approval: what the second teammate has seen. */
  decide: z.object({ grantId: z.string(), endMs: z.number(), grantEndMs: z.number().nullable() }).optional(),
  /** The grant that is to be removed. */
  revoke: z.string().optional(),
  /** First and last grant of the page shown. */
  grants: z.object({ first: z.string(), last: z.string() }).optional(),
};

/** What the canvases of grants carry to the next request. */
export type GrantFormState = {
  readonly [Name in keyof typeof grantCarried]?: z.infer<(typeof grantCarried)[Name]>;
};

/** A grant that was reviewed. */
export type ReviewedGrant = NonNullable<GrantFormState['grant']>;
