import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';
import { AppError, unauthorized } from '../errors.ts';
import { parseJson, readBody, requireJson } from './body.ts';
import { unknownRoute } from './errors.ts';

/** How a platform signs its requests. Both functions are pure and return why a request is refused; `null`: accepted. */
export interface SignatureScheme {
  /** Whether the headers can hold a signature, decided before the body is read. */
  checkHeaders(headers: IncomingHttpHeaders): string | null;
  verify(input: {
    readonly secret: string;
    readonly body: Buffer;
    readonly headers: IncomingHttpHeaders;
  }): string | null;
}

/**
 * Reads a signed JSON request into `req.body`. Nothing is parsed before the signature over the raw bytes is verified,
 * and nothing is read without a signature to verify.
 */
export function signedJson(
  scheme: SignatureScheme,
  options: { secret: string; maxBytes: number },
): RequestHandler {
  return async (req, res, next) => {
    // This handler runs before the routes, all of which are POST.
    if (req.method !== 'POST') return unknownRoute(req, res, next);
    requireJson(req);
    const { headers } = req;
    assertVerified(scheme.checkHeaders(headers));
    const body = await readBody(req, res, options.maxBytes);
    assertVerified(scheme.verify({ secret: options.secret, body, headers }));
    req.body = parseJson(body.toString());
    if (req.body === undefined) throw new AppError('invalid_json', 'The body is not JSON');
    next();
  };
}

/** @throws AppError 401 */
export function assertVerified(refusal: string | null): void {
  if (refusal !== null) throw unauthorized(refusal);
}
