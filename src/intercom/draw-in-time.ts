import type { Request } from 'express';
import type { Logger } from 'pino';
import { requestId } from '../http/request-log.ts';
import { withTimeout } from '../time.ts';

/** Intercom documents no limit for Canvas Kit (UNVERIFIED: 10 s); this stays below the 5 s of its webhooks. */
const DEADLINE_MS = 4_500;

/** Whatever goes wrong, the person gets a card with a next step, and the log gets the cause. */
export async function drawInTime<T>(
  drawing: Promise<T>,
  { headers }: Request,
  card: {
    readonly name: 'card' | 'customer card';
    readonly logger: Logger;
    readonly workspaceId: string;
    readonly component: string | null;
    fallback(problem: 'failed' | 'slow'): T;
  },
): Promise<T> {
  const { name, logger, workspaceId, component } = card;
  const fields = { workspaceId, component, requestId: requestId(headers['x-request-id']) };
  const drawn = drawing.catch((error: unknown) => {
    logger.error({ err: error, ...fields }, `${name} failed`);
    return card.fallback('failed');
  });
  return withTimeout(drawn, DEADLINE_MS, () => {
    logger.warn(fields, `${name} missed its deadline`);
    return card.fallback('slow');
  });
}
