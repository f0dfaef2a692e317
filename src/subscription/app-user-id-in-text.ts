import { isBlockedId } from './app-user-ids.ts';

/** Only this much of a text is read: more than any message has, and a bound on the work of unauthenticated senders. */
const MAX_TEXT_LENGTH = 100_000;

const MAX_ID_LENGTH = 100;

/** No two optional gaps are adjacent: `user` followed by many spaces would take quadratic time. */
const LABEL = /^(?:RC[ _-]*)?(?:customer|user|install)(?:[ _-]*id|[ _-]*)$/i;

/**
 * Finds an app user id in the text of a conversation, as written by apps that open a mail with
 * `RC User ID: …`. A line counts when it begins with an optional `RC`, one of customer, user or install and an
 * optional `id`, followed by a colon and 1 to 100 characters without a slash. Source: RevenueCat's own
 * inbox app, "Matching customers". Anyone can write such a line: it is a suggestion and does not prove who writes.
 *
 * @param body plain text or HTML
 */
export function appUserIdInText(body: string): string | null {
  for (const line of plainText(body.slice(0, MAX_TEXT_LENGTH)).split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 0 || !LABEL.test(line.slice(0, colon).trim())) continue;
    const id = line.slice(colon + 1).trim();
    if (id.length <= MAX_ID_LENGTH && !id.includes('/') && !isBlockedId(id)) return id;
  }
  return null;
}

function plainText(body: string): string {
  // `[^<>]` instead of `[^>]`: a run of unclosed brackets is scanned once, not once per bracket.
  const lines = body
    .replaceAll(/\r\n?/g, '\n')
    .replaceAll(/<(?:br|\/?p|\/?div|\/?li|\/?h[1-6]|\/?tr)\b[^<>]*>/gi, '\n')
    .replaceAll(/<[a-z/!][^<>]*>/gi, '');
  return lines.replaceAll(/&(#\d{1,7}|#x[\da-f]{1,6}|[a-z]{2,6});/gi, decodeEntity);
}

const NAMED: ReadonlyMap<string, string> = new Map(
  Object.entries({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ' }),
);

function decodeEntity(entity: string, name: string): string {
  if (!name.startsWith('#')) return NAMED.get(name.toLowerCase()) ?? entity;
  const hex = name[1] === 'x' || name[1] === 'X';
  const code = Number.parseInt(name.slice(hex ? 2 : 1), hex ? 16 : 10);
  return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : entity;
}
