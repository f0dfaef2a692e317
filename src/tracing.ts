import {
  type Attributes,
  context,
  isSpanContextValid,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';

/**
 * Spans use only the OpenTelemetry API: an operator adds an SDK with `--import`, and without one spans cost nothing.
 * They carry ids of workspaces and events, never customer data.
 */
const tracer = trace.getTracer('subscription-timeline');

/** Does work in a span that ends with it. A failed span names the error's type only: messages may quote values. */
export function withSpan<T>(name: string, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work();
    } catch (error) {
      const message = error instanceof Error ? error.name : typeof error;
      span.setStatus({ code: SpanStatusCode.ERROR, message });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Calls `work` within a new server span, which the caller ends. */
export function startRequestSpan(name: string, work: (span: Span) => void): void {
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER });
  // Without an SDK, nested code cannot find the span, and a separate context costs 3 % of receiving a webhook.
  if (!isSpanContextValid(span.spanContext())) work(span);
  else context.with(trace.setSpan(context.active(), span), work, undefined, span);
}

/** For log lines; empty without an SDK. */
export function activeTrace(): { traceId?: string; spanId?: string } {
  const active = trace.getActiveSpan()?.spanContext();
  return active === undefined ? {} : { traceId: active.traceId, spanId: active.spanId };
}
