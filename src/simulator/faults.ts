import { setTimeout as sleep } from 'node:timers/promises';
import { json, type Request, type RequestHandler, type Response, Router } from 'express';
import { z } from 'zod';

const faultSchema = z.strictObject({
  /** Only requests whose path starts with this; unset: all but the control paths. */
  pathPrefix: z.string().startsWith('/').optional(),
  method: z.string().optional(),
  /** Number of requests that the fault applies to; unset: until it is cleared. */
  times: z.int().positive().optional(),
  /** Probability for each request, 0 to 1. */
  share: z.number().min(0).max(1).optional(),
  latencyMs: z.int().min(0).max(600_000).optional(),
  /** Holds the request this long (s), then cuts the connection without a response. */
  hangS: z.number().positive().max(600).optional(),
  status: z.int().min(400).max(599).optional(),
  /** `before`: nothing is done. `after`: the work is done and the response is cut. */
  drop: z.enum(['before', 'after']).optional(),
  token: z.enum(['expired', 'revoked']).optional(),
});

type Fault = z.infer<typeof faultSchema>;

interface LoggedRequest {
  readonly atMs: number;
  readonly method: string;
  readonly path: string;
  /** `null`: the connection was cut before an answer. */
  readonly status: number | null;
  readonly body: unknown;
}

/** The platform's response body for a fault. */
export interface FaultAnswers {
  status(status: number, res: Response): unknown;
  token(kind: 'expired' | 'revoked', res: Response): unknown;
}

const LOG_SIZE = 1_000;
/**
 * Faults of one simulator, with their middleware. The middleware comes first, so that a fault really cuts the
 * connection; the control paths under `/__simulator` are exempt.
 */
export function createFaults(answers: FaultAnswers, now: () => number) {
  let active: { fault: Fault; left: number }[] = [];
  let log: LoggedRequest[] = [];

  const faults = {
    /** Switches a fault on; the returned function switches it off. @throws on an unknown or malformed field */
    add(input: Fault): () => void {
      const fault = faultSchema.parse(input);
      const entry = { fault, left: fault.times ?? Number.POSITIVE_INFINITY };
      active.push(entry);
      return () => {
        active = active.filter((other) => other !== entry);
      };
    },
    /** The faults that are still on. */
    list: () => active.map(({ fault }) => fault),
    clear(): void {
      active = [];
    },
    /** The last 1,000 requests, oldest first. */
    requests: () => [...log],
    clearRequests(): void {
      log = [];
    },
  };

  function faultsFor(req: Request): Fault[] {
    const matching = active.filter(({ fault }) => {
      if (fault.pathPrefix !== undefined && !req.path.startsWith(fault.pathPrefix)) return false;
      if (fault.method !== undefined && fault.method !== req.method) return false;
      return fault.share === undefined || Math.random() < fault.share;
    });
    for (const entry of matching) entry.left -= 1;
    active = active.filter((entry) => entry.left > 0);
    return matching.map((entry) => entry.fault);
  }

  const middleware: RequestHandler = async (req, res, next) => {
    if (req.path.startsWith('/__simulator')) return next();
    const atMs = now();
    res.once('close', () => {
      const status = res.writableFinished ? res.statusCode : null;
      log.push({ atMs, method: req.method, path: req.originalUrl, status, body: req.body });
      if (log.length > LOG_SIZE) log.shift();
    });
    for (const fault of faultsFor(req)) {
      if (fault.latencyMs) await sleep(fault.latencyMs);
      if (fault.hangS) {
        await sleep(fault.hangS * 1_000, undefined, { ref: false });
        return void req.socket.destroy();
      }
      if (fault.drop === 'before') return void req.socket.destroy();
      if (fault.drop === 'after') cutAnswer(req, res);
      if (fault.token) return void res.status(401).json(answers.token(fault.token, res));
      if (fault.status) return void res.status(fault.status).json(answers.status(fault.status, res));
    }
    next();
  };

  const control = Router();
  control
    .route('/__simulator/faults')
    .post(json(), (req, res) => {
      faults.add(req.body);
      res.status(201).end();
    })
    .delete((_req, res) => {
      faults.clear();
      res.status(204).end();
    });

  return { faults, middleware, control };
}

/** Lets the handler do its work and cuts the connection at the first byte of its response. */
function cutAnswer(req: Request, res: Response): void {
  const cut = (): never | boolean => {
    req.socket.destroy();
    return false;
  };
  res.write = cut as typeof res.write;
  res.end = (() => {
    cut();
    return res;
  }) as typeof res.end;
}
