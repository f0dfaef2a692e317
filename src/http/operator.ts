import type { Router } from 'express';
import type { Registry } from 'prom-client';
import { databaseUnavailable, unauthorized } from '../errors.ts';
import { equalInConstantTime } from '../text.ts';
import { withTimeout } from '../time.ts';
import { createRouter } from './app.ts';

/** A load balancer does not wait as long as a statement may take. */
const READY_TIMEOUT_MS = 2_000;

/** `GET /healthz` (the process lives), `/readyz` (it can serve), `/metrics` (with its token, if one is set). */
export function operatorRouter(options: {
  registry: Registry;
  metricsToken: string | null;
  /** In production, metrics always need a token. */
  production: boolean;
  isDraining(): boolean;
  /** Rejects while the database does not answer. */
  isReadOnly(): Promise<boolean>;
}): Router {
  const router = createRouter();
  router.get('/healthz', (_req, res) => {
    res.json({ status: 'ok' });
  });
  router.get('/readyz', async (_req, res) => {
    if (options.isDraining()) {
      res.status(503).json({ status: 'stopping' });
      return;
    }
    // Read-only: cards and pages still work, webhooks get 503.
    const isReadOnly = await withTimeout(options.isReadOnly(), READY_TIMEOUT_MS, () => {
      throw databaseUnavailable();
    });
    res.json({ status: isReadOnly ? 'read-only' : 'ready' });
  });
  router.get('/metrics', async (req, res) => {
    const expected = options.metricsToken;
    if (expected === null && options.production)
      throw unauthorized('Set METRICS_TOKEN, and send it as a bearer token');
    if (expected !== null && !equalInConstantTime(req.get('authorization') ?? '', `Bearer ${expected}`))
      throw unauthorized('Send METRICS_TOKEN as a bearer token');
    res.type(options.registry.contentType).send(await options.registry.metrics());
  });
  return router;
}
