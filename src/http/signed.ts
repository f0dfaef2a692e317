import type { RequestHandler } from 'express';
import { badRequest, unauthorized } from '../errors.ts';
import type { Verdict } from '../intercom/signatures.ts';
import type { RawRequest } from './raw-body.ts';

/** Refuses a request whose signature over its raw bytes is wrong; only then is its body looked at. */
export function requireSignature(
  header: string,
  verify: (rawBody: Buffer, header: string | undefined) => Verdict,
): RequestHandler {
  return (req, _res, next) => {
    const verdict = verify((req as RawRequest).rawBody, req.get(header));
    if (!verdict.ok) next(unauthorized(verdict.reason));
    else if (req.body === undefined) next(badRequest('The body is not JSON'));
    else next();
  };
}
