import { randomUUID } from 'node:crypto';
import type { Canvas } from '../intercom/canvas-rules.ts';

/** A card that a teammate sent in a conversation. */
interface SharedCard {
  readonly id: string;
  readonly conversationId: string;
  readonly adminName: string;
  /** As the app initialized it: live, so that each viewer gets their own content. */
  readonly canvas: Canvas;
  /** What a teammate sees of it; `null`: it could not be drawn. */
  readonly teammateCanvas: Canvas | null;
  readonly atMs: number;
}

/** Cards in conversations. Intercom stores them itself; neither its API nor its webhooks have them. */
export interface SharedCards {
  readonly all: SharedCard[];
  add(card: Omit<SharedCard, 'id'>): void;
  /** Oldest first. */
  of(conversationId: string): readonly SharedCard[];
}

export function createSharedCards(): SharedCards {
  const all: SharedCard[] = [];
  return {
    all,
    add(card) {
      all.push({ ...card, id: randomUUID() });
    },
    of: (conversationId) => all.filter((card) => card.conversationId === conversationId),
  };
}
