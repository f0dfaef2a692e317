import type { RequestHandler } from 'express';
import { Gauge, Histogram, type Registry } from 'prom-client';
import type { ReadDatabase } from '../database/replica.ts';
import type { Database } from '../database/sql.ts';

/** What stands for a request's address, so that no id becomes a label. */
const AREA =
  /^\/(webhooks\/\w+|canvas\/\w+|intercom\/\w+|api|settings|support|install|oauth|assets)(?=[/?]|$)/;
/** They come every second and say nothing of the load. */
const PROBES = /^\/(healthz|readyz|metrics)(\?|$)/;

/**
 * How long requests take, and how the database's connections stand.
 *
 * @returns what stands before all routes
 */
export function watchServer(
  registry: Registry,
  sources: { database: Database; readDatabase: ReadDatabase },
): RequestHandler {
  const registers = [registry];
  const seconds = new Histogram({
    name: 'subscription_timeline_http_seconds',
    help: 'Requests by the part of the app that they went to, until their answer was sent',
    labelNames: ['area', 'status'] as const,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  new Gauge({
    name: 'subscription_timeline_database_connections',
    help: 'Connections of this process to the database; waiting: statements that wait for one',
    labelNames: ['state'] as const,
    registers,
    collect() {
      const { total, idle, waiting } = sources.database.connections();
      this.set({ state: 'busy' }, total - idle);
      this.set({ state: 'idle' }, idle);
      this.set({ state: 'waiting' }, waiting);
    },
  });
  if (sources.readDatabase.replica() !== null) addReplica(registers, sources.readDatabase);
  return (req, res, next) => {
    const begunMs = performance.now();
    res.once('close', () => {
      if (PROBES.test(req.originalUrl)) return;
      const area = AREA.exec(req.originalUrl)?.[1] ?? 'other';
      const status = res.writableFinished ? `${Math.floor(res.statusCode / 100)}xx` : 'aborted';
      seconds.observe({ area, status }, (performance.now() - begunMs) / 1_000);
    });
    next();
  };
}

function addReplica(registers: Registry[], readDatabase: ReadDatabase): void {
  new Gauge({
    name: 'subscription_timeline_replica_in_use',
    help: '1: cards and pages are read from the replica; 0: from the primary, because the replica cannot serve',
    registers,
    collect() {
      this.set(readDatabase.replica()?.inUse ? 1 : 0);
    },
  });
  new Gauge({
    name: 'subscription_timeline_replica_lag_seconds',
    help: 'How far the replica is behind',
    registers,
    collect() {
      this.set((readDatabase.replica()?.lagMs ?? 0) / 1_000);
    },
  });
}
