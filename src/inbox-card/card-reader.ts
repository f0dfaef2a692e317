import { createBatcher, keyed } from '../database/batcher.ts';
import type { Sql } from '../database/sql.ts';
import type { StoredSummary } from '../subscription/summary.ts';
import { type CardAsked, type CardRead, readCards, readStoredSummaries } from './store.ts';

/**
 * Reads what cards show. Cards of a workspace that are opened while others are being read share the next statement: a
 * group conversation opens five at once, and a busy inbox more.
 */
export interface CardReader {
  /** `null`: no such workspace. */
  card(workspaceId: string, asked: CardAsked): Promise<CardRead | null>;
  /** `null`: none is kept. */
  summary(workspaceId: string, subscriberId: string): Promise<StoredSummary | null>;
}

/** Cards of one statement: beyond this it takes longer without answering more of them a second. */
const BATCHES = { most: 32 };

export function createCardReader(sql: Sql): CardReader {
  const cards = keyed((workspaceId: string) =>
    createBatcher<CardAsked, CardRead | null>(async (asked) => {
      const reads = await readCards(sql, workspaceId, asked);
      return asked.map((_, index) => reads?.[index] ?? null);
    }, BATCHES),
  );
  const summaries = keyed((workspaceId: string) =>
    createBatcher<string, StoredSummary | null>(async (subscriberIds) => {
      const kept = await readStoredSummaries(sql, workspaceId, subscriberIds);
      return subscriberIds.map((subscriberId) => kept.get(subscriberId) ?? null);
    }, BATCHES),
  );
  return {
    card: (workspaceId, asked) => cards(workspaceId)(asked),
    summary: (workspaceId, subscriberId) => summaries(workspaceId)(subscriberId),
  };
}
