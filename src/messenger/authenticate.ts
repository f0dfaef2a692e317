import type { Request, Response } from 'express';
import { LRUCache } from 'lru-cache';
import { AppError, type ErrorCode } from '../errors.ts';
import { createRateLimit, senderOf } from '../http/rate-limit.ts';
import { MINUTE_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { type ApiKeyKind, findKeyHolder, type KeyHolder, parseApiKey, touchApiKey } from './api-keys.ts';

/**
 * Finds the workspace of a request's API key.
 *
 * @throws AppError 401 for a missing, unknown or revoked key, 403 for a key of another kind, 429 with `Retry-After` when
 *   an address or a key sends too much
 */
export function createAuthenticate(app: AppContext) {
  const { database, now, logger } = app;
  const perKey = createRateLimit({
    requests: 1_000,
    seconds: 10,
    message: 'Too many requests with this API key',
  });
  const wrongKeys = createRateLimit({
    requests: 60,
    seconds: 60,
    message: 'Too many wrong API keys from this address',
  });
  const acceptedKeys = new LRUCache<string, true>({ max: 1_000 });

  /** In the background: the time of last use may be late or missing. */
  function touch({ workspaceId, keyId, lastUsedAt }: KeyHolder): void {
    if (lastUsedAt !== null && now() - lastUsedAt.getTime() < MINUTE_MS) return;
    touchApiKey(database, workspaceId, keyId).catch((error: unknown) => {
      logger.warn({ err: error, workspaceId, keyId }, 'could not record the use of an API key');
    });
  }

  return async (req: Request, res: Response, kind: ApiKeyKind): Promise<KeyHolder> => {
    const sender = senderOf(req);
    const refuse = async (code: ErrorCode, message: string): Promise<never> => {
      await wrongKeys.consume(sender, res);
      res.set('WWW-Authenticate', 'Bearer');
      throw new AppError(code, message);
    };
    const header = req.get('authorization') ?? '';
    const parsed = parseApiKey(/^Bearer +(\S+)$/i.exec(header)?.[1] ?? '');
    // Checked before the database is read, so that guessing keys costs only the sender. A key that was accepted before
    // is not limited by others who share its address.
    if (!parsed || !acceptedKeys.has(parsed.hash)) await wrongKeys.check(sender, res);
    if (header === '')
      return refuse('api_key_missing', 'Send a workspace API key: Authorization: Bearer <key>');
    const holder = parsed && (await findKeyHolder(database, parsed.workspaceId, { hash: parsed.hash }));
    if (!holder)
      return refuse('api_key_invalid', 'Unknown API key. Create one under Settings › Messenger and Fin.');
    if (holder.isRevoked)
      return refuse(
        'api_key_revoked',
        'This API key was revoked. Create a new one under Settings › Messenger and Fin.',
      );
    if (holder.kind !== kind) {
      const needed = kind === 'fin' ? 'the Fin data connector' : 'the Messenger';
      throw new AppError(
        'api_key_kind',
        `Wrong kind of API key. Create one for ${needed} under Settings › Messenger and Fin.`,
      );
    }
    acceptedKeys.set(parsed.hash, true);
    await perKey.consume(holder.keyId, res);
    touch(holder);
    return holder;
  };
}
