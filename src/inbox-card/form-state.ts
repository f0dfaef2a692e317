import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { actionFormState } from '../grants/form-state.ts';
import { equalInConstantTime } from '../text.ts';
import { MINUTE_MS } from '../time.ts';

/** A view that changes something shows its review again after this time. */
const REVIEW_VALID_MS = 30 * MINUTE_MS;

export const TIMELINE_FILTERS = ['all', 'purchases', 'endings', 'payments', 'grants', 'other'] as const;
export const ENVIRONMENT_FILTERS = ['all', 'production', 'sandbox'] as const;

/**
 * What a canvas passes on to the next request, in Intercom's `stored_data`. It travels through the browser, so it is
 * signed and bound to the workspace, the teammate and the contact: copied to another card it is refused.
 */
const formStateSchema = z.object({
  signedAtMs: z.number().optional(),
  /** The subscriber that the teammate chose where several were possible, until the card is opened again. */
  chosen: z.string().optional(),
  /** First and last event of the timeline page shown: time in epoch ms, and id. */
  page: z
    .object({ first: z.tuple([z.number(), z.string()]), last: z.tuple([z.number(), z.string()]) })
    .optional(),
  filter: z.object({ kind: z.enum(TIMELINE_FILTERS), environment: z.enum(ENVIRONMENT_FILTERS) }).optional(),
  /** How each subscriber of a list was found, for the audit log. */
  foundBy: z.record(z.string(), z.string()).optional(),
  /** The link that was reviewed, with a fingerprint of what the review showed. */
  match: z.object({ subscriberId: z.string(), foundBy: z.string(), fingerprint: z.string() }).optional(),
  /** The subscriber whose link can be removed. */
  unlink: z.string().optional(),
  ...actionFormState,
});

export type FormState = z.infer<typeof formStateSchema>;

/** Whose card the form state belongs to. */
export interface FormStateOwner {
  readonly workspaceId: string;
  readonly adminId: string;
  readonly contactId: string;
}

export function signFormState(
  key: string,
  owner: FormStateOwner,
  formState: FormState & { readonly signedAtMs: number },
): Record<string, unknown> {
  const data = JSON.stringify(formState);
  return { data, mac: sign(key, owner, data) };
}

/** `null`: tampered with, or made for another card. */
export function verifyFormState(
  key: string,
  owner: FormStateOwner,
  stored: Readonly<Record<string, unknown>>,
): FormState | null {
  const { data, mac } = stored;
  if (data === undefined && mac === undefined) return {};
  if (typeof data !== 'string' || typeof mac !== 'string') return null;
  if (!equalInConstantTime(mac, sign(key, owner, data))) return null;
  const parsed = formStateSchema.safeParse(JSON.parse(data));
  // Signed by another version of this app: the card starts again without it.
  return parsed.success ? parsed.data : {};
}

export function isOutdated({ signedAtMs }: FormState, nowMs: number): boolean {
  return signedAtMs !== undefined && nowMs - signedAtMs > REVIEW_VALID_MS;
}

function sign(key: string, owner: FormStateOwner, data: string): string {
  const bound = JSON.stringify([owner.workspaceId, owner.adminId, owner.contactId, data]);
  return createHmac('sha256', `stored-data|${key}`).update(bound).digest('base64url');
}
