import { z } from 'zod';
import { badRequest } from './errors.ts';

const schema = z.union([z.iso.datetime({ offset: true }), z.iso.date()]);

/**
 * A moment that somebody typed. `Date.parse` alone takes `5` for a year and rolls `2026-02-30` over, so that a slip
 * of the hand would send events of many years.
 *
 * @param option where it was typed, for the message
 * @returns epoch ms
 */
export function readIsoTime(text: string, option: string, nowMs = Date.now()): number {
  if (!schema.safeParse(text).success)
    throw badRequest(`${option} ${text} is no ISO time, such as 2026-10-01T00:00:00Z or 2026-10-01`);
  const atMs = Date.parse(text);
  if (atMs > nowMs) throw badRequest(`${option} ${text} has not come yet`);
  return atMs;
}
