import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';
import { AppError, notFound, unauthorized } from '../errors.ts';
import { parseJson, type RawRequest, readBody, requireJson } from './body.ts';

export type SignatureResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** How a platform signs its requests. Both functions are pure. */
export interface SignatureScheme {
  /** Whether the headers can hold a signature, decided before the body is read. */
  checkHeaders(headers: IncomingHttpHeaders): SignatureResult;
  verify(input: {
    readonly secret: string;
    readonly body: Buffer;
    readonly headers: IncomingHttpHeaders;
  }): SignatureResult;
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
    // It goes before the routes, which are all POST.
    if (req.method !== 'POST') throw notFound('Not found');
    requireJson(req);
    const { headers } = req;
    assertVerified(scheme.checkHeaders(headers));
    const body = await readBody(req, res, options.maxBytes);
    assertVerified(scheme.verify({ secret: options.secret, body, headers }));
    (req as RawRequest).rawBody = body;
    req.body = parseJson(body);
    if (req.body === undefined) {
      throw new AppError('invalid_json', 'The body is not JSON', { status: 400 });
    }
    next();
  };
}

/** @throws AppError 401 */
export function assertVerified(result: SignatureResult): void {
  if (!result.ok) throw unauthorized(result.reason);
}
