import type { Request, Response } from 'express';
import { AppError, type ErrorCode } from '../errors.ts';
import { type ApiKeyKind, readApiKey } from './api-keys.ts';
import type { MessengerContext } from './context.ts';
import { createKeyLimit, type KeyLimit } from './key-limit.ts';
import { type KeyHolder, readKeyHolder, touchApiKey } from './store.ts';

/** What one key may ask: this many at once, then so many a second. */
const BURST = 1_000;
const PER_SECOND = 100;
/** Wrong keys that one address may try: this many at once, then so many a second. */
const WRONG_BURST = 60;
const WRONG_PER_SECOND = 1;
/** A key's last use is noted at most so often, ms. */
const TOUCH_EVERY_MS = 60_000;

export interface Bearers {
  /**
   * Whose key the request carries.
   *
   * @throws AppError 401 no key, none of ours or revoked; 403 a key of another kind; 429 too often, with `Retry-After`
   */
  authenticate(req: Request, res: Response, kind: ApiKeyKind): Promise<KeyHolder>;
}

export function createBearers(context: MessengerContext): Bearers {
  const { database, now, logger } = context;
  const keys = createKeyLimit({ burst: BURST, perSecond: PER_SECOND, now });
  const strangers = createKeyLimit({ burst: WRONG_BURST, perSecond: WRONG_PER_SECOND, now });
  const touched = new Map<string, number>();

  /** Not waited for: that a key was used may be noted late, or not at all. */
  function touch({ workspaceId, keyId }: KeyHolder): void {
    const atMs = now();
    if (atMs - (touched.get(keyId) ?? Number.NEGATIVE_INFINITY) < TOUCH_EVERY_MS) return;
    touched.set(keyId, atMs);
    touchApiKey(database, workspaceId, keyId).catch((error: unknown) => {
      logger.warn({ err: error, workspaceId, keyId }, 'use of an API key not noted');
    });
  }

  return {
    async authenticate(req, res, kind) {
      const refuse = (code: ErrorCode, message: string): AppError => {
        limit(strangers, req.ip ?? '', res, 'Too many wrong API keys from this address');
        res.set('WWW-Authenticate', 'Bearer');
        return new AppError(code, message, { status: 401 });
      };
      const header = req.get('authorization') ?? '';
      if (header === '') {
        throw refuse('api_key_missing', 'Send a workspace API key: Authorization: Bearer <key>');
      }
      const named = readApiKey(/^Bearer +(\S+)$/i.exec(header)?.[1] ?? '');
      const holder = named && (await readKeyHolder(database, named.workspaceId, named.hash));
      if (!holder) {
        throw refuse(
          'api_key_invalid',
          'This is no API key of a workspace. Make one in the settings, Messenger',
        );
      }
      if (holder.isRevoked) {
        throw refuse(
          'api_key_revoked',
          'This API key was revoked. Make a new one in the settings, Messenger',
        );
      }
      if (holder.kind !== kind) {
        const wanted = kind === 'fin' ? 'the Fin data connector' : 'the Messenger';
        throw new AppError(
          'api_key_kind',
          `This API key is of another kind: this address needs one for ${wanted}`,
          {
            status: 403,
          },
        );
      }
      limit(keys, holder.keyId, res, 'Too many requests with this API key');
      touch(holder);
      return holder;
    },
  };
}

/** @throws AppError 429 */
function limit(counts: KeyLimit, sender: string, res: Response, message: string): void {
  const waitS = counts.take(sender);
  if (waitS === null) return;
  res.set('Retry-After', String(waitS));
  throw new AppError('rate_limited', `${message}: wait ${waitS} s`, { status: 429 });
}
