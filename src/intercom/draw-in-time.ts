import type { Request } from 'express';
import type { Logger } from 'pino';
import { isDatabaseUnavailable } from '../errors.ts';
import { requestId } from '../http/request-log.ts';
import { withTimeout } from '../time.ts';

/** Intercom documents no limit for Canvas Kit (UNVERIFIED: 10 s); this stays below the 5 s of its webhooks. */
const DEADLINE_MS = 4_500;

/** Whatever goes wrong, the person gets a card with a next step, and the log gets the cause. */
export async function drawInTime<T>(
  drawing: Promise<T>,
  { headers }: Request,
  card: {
    readonly place: 'inbox' | 'messenger';
    readonly logger: Logger;
    readonly workspaceId: string;
    readonly componentId: string | null;
    fallback(problem: 'failed' | 'slow'): T;
  },
): Promise<T> {
  const { place, logger, workspaceId, componentId: component } = card;
  const fields = () => ({ place, workspaceId, component, requestId: requestId(headers['x-request-id']) });
  const drawn = drawing.catch((error: unknown) => {
    // A database outage has its own line in the log, as an error.
    const level = isDatabaseUnavailable(error) ? 'warn' : 'error';
    logger[level]({ err: error, ...fields() }, 'card failed');
    return card.fallback('failed');
  });
  return withTimeout(drawn, DEADLINE_MS, () => {
    logger.warn(fields(), 'card missed its deadline');
    return card.fallback('slow');
  });
}
