import type { Server } from 'node:http';
import type { RequestHandler, Response } from 'express';

/** A request that is still open so long after the doors closed does not delay the stop any longer, ms. */
const MAX_REQUEST_MS = 10_000;

/**
 * Stops an HTTP server without a failed request. First it says on `/readyz` that it is stopping, goes on answering,
 * and asks every client to leave its connection (`Connection: close`), so that a load balancer moves on by itself;
 * then it takes no more connections; then it waits for the requests in hand.
 */
export interface Drain {
  /** Stands before all routes. */
  readonly watch: RequestHandler;
  isDraining(): boolean;
  /** @param noticeMs how long it goes on answering, so that the load balancer can notice */
  stop(server: Server, noticeMs: number): Promise<void>;
}

export function createDrain(): Drain {
  const open = new Set<Response>();
  let draining = false;

  return {
    watch(_req, res, next) {
      if (draining) res.setHeader('Connection', 'close');
      open.add(res);
      res.once('close', () => open.delete(res));
      next();
    },
    isDraining: () => draining,
    async stop(server, noticeMs) {
      draining = true;
      for (const res of open) if (!res.headersSent) res.setHeader('Connection', 'close');
      if (noticeMs > 0) await new Promise((resolve) => setTimeout(resolve, noticeMs));
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), MAX_REQUEST_MS);
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
        server.closeIdleConnections();
      });
    },
  };
}
