import { stripNul } from '../text.ts';

/**
 * Ids that RevenueCat blocks because broken apps send them for every customer, and the id that the SDK's preview mode
 * uses for everyone. None of them identifies a customer.
 */
const BLOCKED = new Set([
  ...'no_user null none nil (null) nan unidentified undefined unknown anonymous guest -1 0 [] {}'.split(' '),
  '',
  '[object object]',
  '$rc_preview_mode_user',
]);

/**
 * Maximum length of a text that is part of a database key, in UTF-8 bytes: an index entry in PostgreSQL holds 2,704,
 * and each entry begins with the workspace and the project.
 */
const MAX_KEY_BYTES = 2_000;

/** Whether a text can be part of a key. A UTF-16 unit takes at most three bytes in UTF-8. */
export function fitsKey(value: string): boolean {
  return value.length <= MAX_KEY_BYTES / 3 || Buffer.byteLength(value) <= MAX_KEY_BYTES;
}

/** In a URL path these resolve to another endpoint, escaped or not. */
const PATH_DOTS = new Set(['.', '..']);

/**
 * Whether an app user id identifies no one. Source: RevenueCat, "Identifying customers", blocked ids. RevenueCat
 * advises at most 100 characters, so a text that is too long for a key cannot be an id either.
 */
export function isBlockedId(id: string): boolean {
  const isUnusable = id.includes('\0') || PATH_DOTS.has(id) || !fitsKey(id);
  return isUnusable || BLOCKED.has(id.trim().toLowerCase());
}

export function isAnonymous(id: string): boolean {
  return id.startsWith('$RCAnonymousID:');
}

/** Puts identified ids first, keeps the order within each group, and drops blocked ids and repeats. */
export function preferredAppUserIds(ids: readonly string[]): string[] {
  const usable = [...new Set(ids)].filter((id) => !isBlockedId(id));
  return [...usable.filter((id) => !isAnonymous(id)), ...usable.filter(isAnonymous)];
}

/** The value of a `$email` attribute as it is stored; `null`: none. */
export function toEmail(value: unknown): string | null {
  if (typeof value !== 'string' || !value.includes('@') || value.length > 320) return null;
  return stripNul(value).toWellFormed().trim().toLowerCase();
}
