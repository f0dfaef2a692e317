import { stripNul } from '../text.ts';

/**
 * Ids that RevenueCat blocks because broken apps send them for every customer, and the one that the SDK's preview mode
 * gives everyone; no customer is matched by one.
 */
const BLOCKED = new Set([
  ...'no_user null none nil (null) nan unidentified undefined unknown anonymous guest -1 0 [] {}'.split(' '),
  '',
  '[object object]',
  '$rc_preview_mode_user',
]);

/**
 * UTF-8 bytes of the longest text that the database can look things up by: a key of PostgreSQL's indexes holds
 * 2,704, and each begins with the workspace and the project.
 */
const MAX_KEY_BYTES = 2_000;

/** Whether a text can be part of a key. No character of a text takes more than three bytes a UTF-16 unit. */
export function fitsKey(value: string): boolean {
  return value.length <= MAX_KEY_BYTES / 3 || Buffer.byteLength(value) <= MAX_KEY_BYTES;
}

/** In an address these lead to another endpoint, whether they are escaped or not. */
const PATH_DOTS = new Set(['.', '..']);

/**
 * Whether an app user id identifies no one. Source: RevenueCat, "Identifying customers", blocked ids; it advises at
 * most 100 characters, so what is too long for a key cannot be an id either.
 */
export function isBlockedId(id: string): boolean {
  const isUnusable = id.includes('\0') || PATH_DOTS.has(id) || !fitsKey(id);
  return isUnusable || BLOCKED.has(id.trim().toLowerCase());
}

export function isAnonymous(id: string): boolean {
  return id.startsWith('$RCAnonymousID:');
}

/** Identified ids first, each group in its given order, blocked ones and repeats left out. */
export function preferredAppUserIds(ids: readonly string[]): string[] {
  const usable = [...new Set(ids)].filter((id) => !isBlockedId(id));
  return [...usable.filter((id) => !isAnonymous(id)), ...usable.filter(isAnonymous)];
}

/** The value of a `$email` attribute as it is stored; `null`: none. */
export function toEmail(value: unknown): string | null {
  if (typeof value !== 'string' || !value.includes('@') || value.length > 320) return null;
  return stripNul(value).toWellFormed().trim().toLowerCase();
}
