import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { actionFormState, REVIEW_VALID_MS } from '../grants/form-state.ts';
import { equalInConstantTime } from '../text.ts';
import type { CardRequest } from './request.ts';

export const TIMELINE_FILTERS = ['all', 'purchases', 'endings', 'payments', 'grants', 'other'] as const;
export const ENVIRONMENT_FILTERS = ['all', 'production', 'sandbox'] as const;

/** How a subscriber was found, for the audit log; `unknown`: no signed list of this card contains it. */
const FOUND_BY = [
  'app_user_id',
  'email',
  'transaction',
  'conversation',
  'possible_match',
  'earlier_link',
  'unknown',
] as const;

export type FoundBy = (typeof FOUND_BY)[number];

/**
 * What a canvas passes on to the next request, in Intercom's `stored_data`. It travels through the browser, so it is
 * signed and bound to the workspace, the teammate and the contact: copied to another card it is refused.
 */
const formStateSchema = z.object({
  signedAtMs: z.number().optional(),
  /** The subscriber that the teammate chose where several were possible, until the card is opened again. */
  chosen: z.string().optional(),
  /** The last event of the timeline page shown and of each page before it: time in epoch ms, and id. */
  pages: z.array(z.tuple([z.number(), z.string()])).optional(),
  filter: z.object({ kind: z.enum(TIMELINE_FILTERS), environment: z.enum(ENVIRONMENT_FILTERS) }).optional(),
  foundBy: z.record(z.string(), z.enum(FOUND_BY)).optional(),
  /** The link that was reviewed, with a fingerprint of what the review showed. */
  match: z
    .object({ subscriberId: z.string(), foundBy: z.enum(FOUND_BY), fingerprint: z.string() })
    .optional(),
  /** The subscriber whose link can be removed. */
  unlink: z.string().optional(),
  ...actionFormState,
});

export type FormState = z.infer<typeof formStateSchema>;

/** Whether the canvas is too old: a view that changes something then shows its review again. */
export function isOutdated({ signedAtMs }: FormState, nowMs: number): boolean {
  return signedAtMs !== undefined && nowMs - signedAtMs > REVIEW_VALID_MS;
}

type FormStateOwner = Pick<CardRequest, 'workspaceId'> & {
  readonly admin: { readonly id: string };
  readonly contact: { readonly id: string };
};

export function signFormState(
  key: string,
  owner: FormStateOwner,
  formState: FormState & { readonly signedAtMs: number },
): Record<string, unknown> {
  const data = JSON.stringify(formState);
  return { data, mac: sign(key, owner, data) };
}

/** `null`: tampered with, or made for another card. */
export function verifyFormState(key: string, request: CardRequest): FormState | null {
  const { data, mac } = request.storedData;
  if (data === undefined && mac === undefined) return {};
  if (typeof data !== 'string' || typeof mac !== 'string') return null;
  if (!equalInConstantTime(mac, sign(key, request, data))) return null;
  const parsed = formStateSchema.safeParse(JSON.parse(data));
  // Signed by another version of this app: the card starts again without it.
  return parsed.success ? parsed.data : {};
}

function sign(key: string, { workspaceId, admin, contact }: FormStateOwner, data: string): string {
  const bound = JSON.stringify([workspaceId, admin.id, contact.id, data]);
  return createHmac('sha256', `stored-data|${key}`).update(bound).digest('base64url');
}
