import type { Sql } from '../database/sql.ts';
import { type CardAsked, type CardRead, readCards } from './store.ts';

/** Reads what a card shows; `null`: no such workspace. */
export type CardReader = (workspaceId: string, asked: CardAsked) => Promise<CardRead | null>;

interface Waiting {
  readonly asked: CardAsked;
  resolve(read: CardRead | null): void;
  reject(error: unknown): void;
}

/** Cards of one statement: beyond this it takes longer without answering more of them a second. */
const LARGEST_BATCH = 32;

/**
 * Cards of a workspace that are opened while others are being read share the next statement. A lone card is
 * read at once.
 */
export function createCardReader(sql: Sql): CardReader {
  const lanes = new Map<string, Waiting[]>();

  async function run(workspaceId: string, lane: Waiting[]): Promise<void> {
    while (lane.length > 0) {
      const batch = lane.splice(0, LARGEST_BATCH);
      try {
        const reads = await readCards(
          sql,
          workspaceId,
          batch.map((entry) => entry.asked),
        );
        for (const [index, entry] of batch.entries()) entry.resolve(reads?.[index] ?? null);
      } catch (error) {
        for (const entry of batch) entry.reject(error);
      }
    }
    lanes.delete(workspaceId);
  }

  return (workspaceId, asked) =>
    new Promise((resolve, reject) => {
      const running = lanes.get(workspaceId);
      const lane = running ?? [];
      lane.push({ asked, resolve, reject });
      if (running) return;
      lanes.set(workspaceId, lane);
      void run(workspaceId, lane);
    });
}
