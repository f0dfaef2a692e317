let timeZone;

/** @param {string | null} name */
export function useTimeZone(name) {
  timeZone = name ?? undefined;
}

/** @param {Date} date */
export function clockTime(date) {
  const options = { hour: 'numeric', minute: '2-digit', timeZone, timeZoneName: 'short' };
  return new Intl.DateTimeFormat('en-US', options).format(date);
}

/** @param {number} ms */
export function dateAndTime(ms) {
  const options = {
    month: 'short',
    day: 'numeric',
    year: 'numeric',
    hour: 'numeric',
    minute: '2-digit',
    timeZone,
  };
  return new Intl.DateTimeFormat('en-US', options).format(new Date(ms));
}

/**
 * A value as it was written, and for a timestamp its date as a hint.
 * @param {string} name
 * @param {unknown} value
 */
export function writtenValue(name, value) {
  const plain = typeof value === 'string' ? value : JSON.stringify(value);
  const isTime =
    typeof value === 'number' && /(_at|_date|_until|_since)$/.test(name) && value > 1e9 && value < 1e10;
  return { plain, hint: isTime ? dateAndTime(value * 1000) : null };
}

/** @param {string} name */
export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join('') || '?';
}

/** @param {string} text */
export function hueOf(text) {
  let sum = 0;
  for (const character of text) sum = (sum * 31 + character.codePointAt(0)) % 997;
  return sum % 6;
}
