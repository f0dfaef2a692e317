import { createHmac } from 'node:crypto';
import type { SignatureScheme } from '../http/signed.ts';
import { equalInConstantTime } from '../text.ts';

const HEX_DIGITS = { sha1: 40, sha256: 64 } as const;

/**
 * Canvas Kit and health check requests: bare hex of HMAC-SHA256(client secret, raw body) in `X-Body-Signature`.
 *
 * Source: Intercom, "Canvas Kit: request signing" and "Installation health check". The sample values printed there
 * have the wrong length; the real one has 64 characters.
 */
export const bodySignature = hexSignature('X-Body-Signature', 'sha256', '');

/**
 * Webhook notifications: `sha1=` and hex of HMAC-SHA1(client secret, raw body) in `X-Hub-Signature`.
 * Source: Intercom, "Webhooks: signed notifications".
 */
export const hubSignature = hexSignature('X-Hub-Signature', 'sha1', 'sha1=');

function hexSignature(name: string, algorithm: keyof typeof HEX_DIGITS, prefix: string): SignatureScheme {
  const header = name.toLowerCase();
  const digits = HEX_DIGITS[algorithm];
  const format = new RegExp(`^${prefix}[0-9a-f]{${digits}}$`, 'i');

  const checkHeaders: SignatureScheme['checkHeaders'] = (headers) => {
    const given = headers[header];
    if (typeof given !== 'string' || given === '') return `${name} is missing`;
    return format.test(given) ? null : `${name} is not ${prefix}${digits} hex digits`;
  };
  return {
    checkHeaders,
    verify({ secret, body, headers }) {
      const refusal = checkHeaders(headers);
      if (refusal !== null) return refusal;
      const given = String(headers[header]).slice(prefix.length).toLowerCase();
      const expected = createHmac(algorithm, secret).update(body).digest('hex');
      return equalInConstantTime(given, expected) ? null : `${name} does not match the body`;
    },
  };
}
