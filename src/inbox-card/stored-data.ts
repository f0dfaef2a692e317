import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { equalInConstantTime } from '../workspaces/secrets.ts';

/**
 * What a canvas carries to the next request. It comes back through the browser, so it is signed, and bound to
 * the workspace, the teammate and the contact: copied to another card it is refused.
 */
export const carriedSchema = z.object({
  /** The last event on the timeline page shown, and the first. */
  page: z.object({ first: z.string(), last: z.string() }).optional(),
  grant: z
    .object({
      key: z.string(),
      subscriberId: z.string(),
      entitlementId: z.string(),
      duration: z.string(),
      reason: z.string(),
      endMs: z.number(),
    })
    .optional(),
  revoke: z.string().optional(),
  match: z.string().optional(),
});

export type Carried = z.infer<typeof carriedSchema>;

export interface Carrier {
  readonly workspaceId: string;
  readonly adminId: string;
  readonly contactId: string;
}

export function sealCarried(key: string, carrier: Carrier, carried: Carried): Record<string, unknown> {
  const data = JSON.stringify(carried);
  return { data, mac: sign(key, carrier, data) };
}

/** `null`: tampered with, or made for another card. */
export function openCarried(
  key: string,
  carrier: Carrier,
  stored: Readonly<Record<string, unknown>>,
): Carried | null {
  const { data, mac } = stored;
  if (data === undefined && mac === undefined) return {};
  if (typeof data !== 'string' || typeof mac !== 'string') return null;
  if (!equalInConstantTime(mac, sign(key, carrier, data))) return null;
  const parsed = carriedSchema.safeParse(JSON.parse(data));
  return parsed.success ? parsed.data : null;
}

function sign(key: string, carrier: Carrier, data: string): string {
  const bound = JSON.stringify([carrier.workspaceId, carrier.adminId, carrier.contactId, data]);
  return createHmac('sha256', `stored-data|${key}`).update(bound).digest('base64url');
}
