import { join } from 'node:path';
import express, {
  type ErrorRequestHandler,
  type Request,
  type RequestHandler,
  type Response,
  type Router,
} from 'express';
import { z } from 'zod';
import { AppError, badRequest } from '../../errors.ts';

const ASSETS = join(import.meta.dirname, 'assets');

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  // For the customer's Messenger, which the inbox shows in a frame.
  "frame-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

/** A router for pages of the demo, with the files that all of them share. */
export function createPageRouter(): Router {
  const router = express.Router();
  router.use('/assets', express.static(ASSETS, { index: false, cacheControl: false }));
  return router;
}

/** @param options.isFramed whether another page of the demo shows it in a frame */
export function sendPage(response: Response, file: string, options: { isFramed?: boolean } = {}): void {
  const ancestors = options.isFramed ? "'self'" : "'none'";
  response.set('Content-Security-Policy', `${CONTENT_SECURITY_POLICY}; frame-ancestors ${ancestors}`);
  response.set('Referrer-Policy', 'no-referrer');
  response.sendFile(join(ASSETS, file), { cacheControl: false });
}

/** Mounts the routes that the pages' scripts call. */
export function mountApi(router: Router, path: string, api: Router): void {
  router.use(path, express.json({ limit: '512kb' }), noStore, api, answerError);
}

const noStore: RequestHandler = (_request, response, next) => {
  response.set('Cache-Control', 'no-store');
  next();
};

export function readBody<Output>(schema: z.ZodType<Output>, request: Request): Output {
  return parseInput(schema, request.body);
}

export function parseInput<Output>(schema: z.ZodType<Output>, value: unknown): Output {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw badRequest(z.prettifyError(result.error));
}

const answerError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  if (response.headersSent) {
    next(error);
    return;
  }
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof AppError) {
    response.status(error.status).json({ error: { code: error.code, message } });
    return;
  }
  // The body parser sets a 4xx status on errors that the client caused.
  const status = (error as { status?: unknown } | null)?.status;
  const isClientError = typeof status === 'number' && status >= 400 && status < 500;
  response
    .status(isClientError ? status : 500)
    .json({ error: { code: isClientError ? 'bad_request' : 'internal', message } });
};
