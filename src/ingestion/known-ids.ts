import { LRUCache } from 'lru-cache';

/**
 * Whom an app user id was last seen to belong to. It saves the look into the database that most webhooks need
 * for nothing: ids hardly ever change hands. It may be wrong, and nothing is written on its word alone: the
 * statement that stores events takes none for a subscriber that was merged away or erased, and they are then
 * looked up.
 */
export interface KnownIds {
  get(projectId: string, appUserId: string): string | undefined;
  set(projectId: string, appUserId: string, subscriberId: string): void;
  forget(projectId: string, appUserId: string): void;
}

/** @param size ids kept; about 20 MB for 100,000 */
export function createKnownIds(size = 100_000): KnownIds {
  const subscribers = new LRUCache<string, string>({ max: size });
  const keyOf = (projectId: string, appUserId: string): string => `${projectId}\n${appUserId}`;
  return {
    get: (projectId, appUserId) => subscribers.get(keyOf(projectId, appUserId)),
    set: (projectId, appUserId, subscriberId) =>
      void subscribers.set(keyOf(projectId, appUserId), subscriberId),
    forget: (projectId, appUserId) => void subscribers.delete(keyOf(projectId, appUserId)),
  };
}
