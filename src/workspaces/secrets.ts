import { createCipheriv, createDecipheriv, createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Names the row and the column that a sealed value stands in: `workspace:abc:access_token`. */
export type SealedPlace = string & { readonly kind: 'sealed place' };

/**
 * Seals what must be readable again (tokens, keys) with AES-256-GCM. The place is authenticated: a sealed value
 * copied to another row does not open.
 */
export interface SecretBox {
  seal(plain: string, place: SealedPlace): string;
  /** @throws Error when no key opens it: the keys were lost or the value was tampered with */
  open(sealed: string, place: SealedPlace): string;
  /** Whether the value is sealed with a key that is no longer the first. */
  isStale(sealed: string): boolean;
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** @param keys 32 bytes each; the first seals, all open */
export function createSecretBox(keys: readonly Buffer[]): SecretBox {
  const [first] = keys;
  if (!first) throw new Error('No encryption key');
  const byName = new Map(keys.map((key) => [keyName(key), key]));

  return {
    seal(plain, place) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', first, iv);
      cipher.setAAD(Buffer.from(place));
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()]);
      return `v1.${keyName(first)}.${Buffer.concat([iv, body, cipher.getAuthTag()]).toString('base64url')}`;
    },
    open(sealed, place) {
      const [version, name = '', data = ''] = sealed.split('.');
      const key = byName.get(name);
      if (version !== 'v1' || !key) throw new Error('Sealed with a key that ENCRYPTION_KEYS does not hold');
      const bytes = Buffer.from(data, 'base64url');
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES));
      decipher.setAAD(Buffer.from(place));
      decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
      const body = bytes.subarray(IV_BYTES, bytes.length - TAG_BYTES);
      return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
    },
    isStale: (sealed) => sealed.split('.')[1] !== keyName(first),
  };
}

/** Tells keys apart without telling anything of them. */
function keyName(key: Buffer): string {
  return createHash('sha256').update('key-name').update(key).digest('base64url').slice(0, 8);
}

/** For secrets that are only ever compared: long and random, so that a plain hash is enough. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}

/** Compares two strings in time that does not depend on where they differ. */
export function equalInConstantTime(a: string, b: string): boolean {
  const left = createHash('sha256').update(a).digest();
  const right = createHash('sha256').update(b).digest();
  return timingSafeEqual(left, right);
}

/** A new random secret of 192 bits, safe in URLs and headers. */
export function newSecret(prefix = ''): string {
  return prefix + randomBytes(24).toString('base64url');
}
