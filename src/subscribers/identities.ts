/** Ids that RevenueCat blocks because broken apps send them for everybody; nobody is ever matched by one. */
const BLOCKED = new Set([
  'no_user',
  'null',
  'none',
  'nil',
  '(null)',
  'nan',
  '\0',
  '',
  'unidentified',
  'undefined',
  'unknown',
  'anonymous',
  'guest',
  '-1',
  '0',
  '[]',
  '{}',
  '[object object]',
]);

/** Whether an app user id stands for nobody. Source: RevenueCat, "Identifying customers", blocked ids. */
export function isBlockedId(id: string): boolean {
  return BLOCKED.has(id.trim().toLowerCase()) || id.includes('\0');
}

export function isAnonymous(id: string): boolean {
  return id.startsWith('$RCAnonymousID:');
}

/** Identified ids first, each group in its given order, blocked ones and repeats left out. */
export function preferredAppUserIds(ids: readonly string[]): string[] {
  const usable = [...new Set(ids)].filter((id) => !isBlockedId(id));
  return [...usable.filter((id) => !isAnonymous(id)), ...usable.filter(isAnonymous)];
}
