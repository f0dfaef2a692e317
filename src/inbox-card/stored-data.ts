import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { actionFormState } from '../grants/views/form-state.ts';
import { equalInConstantTime } from '../text.ts';
import { ENVIRONMENT_FILTERS, TIMELINE_FILTERS } from './words/types.ts';

/**
 * What a canvas carries to the next request. It comes back through the browser, so it is signed, and bound to
 * the workspace, the teammate and the contact: copied to another card it is refused.
 */
export const formStateSchema = z.object({
  /** Whom the teammate chose where several were possible; stays until the card is opened again. */
  chosen: z.string().optional(),
  /** First and last event of the timeline page shown: time in epoch ms, and id. */
  page: z
    .object({ first: z.tuple([z.number(), z.string()]), last: z.tuple([z.number(), z.string()]) })
    .optional(),
  filter: z.object({ kind: z.enum(TIMELINE_FILTERS), environment: z.enum(ENVIRONMENT_FILTERS) }).optional(),
  /** How each subscriber of a search was found, for the audit log. */
  foundBy: z.record(z.string(), z.string()).optional(),
  ...actionFormState,
  match: z.object({ subscriberId: z.string(), foundBy: z.string() }).optional(),
});

export type FormState = z.infer<typeof formStateSchema>;

export interface Carrier {
  readonly workspaceId: string;
  readonly adminId: string;
  readonly contactId: string;
}

export function signFormState(key: string, carrier: Carrier, formState: FormState): Record<string, unknown> {
  const data = JSON.stringify(formState);
  return { data, mac: sign(key, carrier, data) };
}

/** `null`: tampered with, or made for another card. */
export function verifyFormState(
  key: string,
  carrier: Carrier,
  stored: Readonly<Record<string, unknown>>,
): FormState | null {
  const { data, mac } = stored;
  if (data === undefined && mac === undefined) return {};
  if (typeof data !== 'string' || typeof mac !== 'string') return null;
  if (!equalInConstantTime(mac, sign(key, carrier, data))) return null;
  const parsed = formStateSchema.safeParse(JSON.parse(data));
  // Signed by us, but by a version with other ideas: what it formState is lost, the card is not.
  return parsed.success ? parsed.data : {};
}

function sign(key: string, carrier: Carrier, data: string): string {
  const bound = JSON.stringify([carrier.workspaceId, carrier.adminId, carrier.contactId, data]);
  return createHmac('sha256', `stored-data|${key}`).update(bound).digest('base64url');
}
