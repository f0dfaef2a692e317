import { SpanStatusCode } from '@opentelemetry/api';
import type { RequestHandler } from 'express';
import { collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import { startRequestSpan } from '../tracing.ts';

/** Labels a request by area, so that no ID becomes a label and no made-up path creates a time series. */
const AREA =
  /^\/(webhooks\/(?:revenuecat|intercom)|canvas\/(?:inbox|messenger)|intercom\/(?:health|uninstall)|api|pictures|settings|support|install|oauth|assets)(?=[/?]|$)/;
/** Probes arrive every second and would hide the real requests. */
const PROBES = /^\/(healthz|readyz|metrics)(\?|$)/;

export function createRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** Measures and traces requests. Mounted before all routes. */
export function observeRequests(registry: Registry): RequestHandler {
  const seconds = new Histogram({
    name: 'subscription_timeline_http_seconds',
    help: 'Requests by the part of the app that they went to, until their response was sent',
    labelNames: ['area', 'status'] as const,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  return (req, res, next) => {
    if (PROBES.test(req.originalUrl)) return next();
    const startedMs = performance.now();
    const area = AREA.exec(req.originalUrl)?.[1] ?? 'other';
    startRequestSpan(`${req.method} ${area}`, (span) => {
      res.once('close', () => {
        const status = res.writableFinished ? `${Math.floor(res.statusCode / 100)}xx` : 'aborted';
        seconds.observe({ area, status }, (performance.now() - startedMs) / 1_000);
        span.setAttribute('http.response.status_code', res.statusCode);
        if (res.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      });
      next();
    });
  };
}
