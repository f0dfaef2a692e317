import { createHmac, timingSafeEqual } from 'node:crypto';

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

const VALID: Verdict = { ok: true };

/**
 * Checks the signature of Canvas Kit and health check requests: bare lower-case hex of
 * HMAC-SHA256(client secret, raw body) in `X-Body-Signature`.
 *
 * Source: Intercom, "Canvas Kit: request signing" and "Installation health check". The sample values printed
 * there have the wrong length; the real one has 64 characters.
 */
export function verifyBodySignature(secret: string, rawBody: Buffer, header: string | undefined): Verdict {
  return compareHex(createHmac('sha256', secret).update(rawBody).digest(), header, 'X-Body-Signature');
}

/**
 * Checks the signature of a webhook notification: `sha1=` and hex of HMAC-SHA1(client secret, raw body) in
 * `X-Hub-Signature`. Source: Intercom, "Webhooks: signed notifications".
 */
export function verifyHubSignature(secret: string, rawBody: Buffer, header: string | undefined): Verdict {
  if (header !== undefined && !header.startsWith('sha1=')) {
    return { ok: false, reason: 'X-Hub-Signature does not start with "sha1="' };
  }
  const expected = createHmac('sha1', secret).update(rawBody).digest();
  return compareHex(expected, header?.slice('sha1='.length), 'X-Hub-Signature');
}

function compareHex(expected: Buffer, given: string | undefined, name: string): Verdict {
  if (given === undefined || given === '') return { ok: false, reason: `${name} is missing` };
  if (given.length !== expected.length * 2 || !/^[0-9a-f]+$/i.test(given)) {
    return { ok: false, reason: `${name} is not ${expected.length * 2} hex digits` };
  }
  return timingSafeEqual(expected, Buffer.from(given, 'hex'))
    ? VALID
    : { ok: false, reason: `${name} does not match the body` };
}
