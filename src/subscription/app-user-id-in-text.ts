import { isBlockedId } from './app-user-ids.ts';

/** What is read of one text: far more than any message, and a bound on the work that an unauthenticated sender can cause. */
const MAX_TEXT_LENGTH = 100_000;

const MAX_ID_LENGTH = 100;

/** No two gaps follow each other: `user` and many spaces would take quadratic time. */
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
  // `[^<>]` instead of `[^>]`: a run of unclosed brackets is passed over once, not once for each of them.
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
