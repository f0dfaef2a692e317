import { Router } from 'express';
import type { Registry } from 'prom-client';
import type { Sql } from '../database/sql.ts';
import { unauthorized } from '../errors.ts';
import { equalInConstantTime } from '../workspaces/secrets.ts';

/** `GET /healthz` (the process lives), `/readyz` (it can serve), `/metrics` (with its token, if one is set). */
export function operatorRouter(options: {
  database: Sql;
  registry: Registry;
  metricsToken: string | null;
  isDraining?: () => boolean;
}): Router {
  const router = Router();
  router.get('/healthz', (_req, res) => {
    res.json({ status: 'ok' });
  });
  router.get('/readyz', async (_req, res) => {
    if (options.isDraining?.()) {
      res.status(503).json({ status: 'stopping' });
      return;
    }
    await options.database.query('select 1 from workspaces limit 1');
    res.json({ status: 'ready' });
  });
  router.get('/metrics', async (req, res) => {
    const expected = options.metricsToken;
    if (expected !== null && !equalInConstantTime(req.get('authorization') ?? '', `Bearer ${expected}`)) {
      throw unauthorized('Send the metrics token as a bearer token');
    }
    res.type(options.registry.contentType).send(await options.registry.metrics());
  });
  return router;
}
