import { randomUUID } from 'node:crypto';
import type { Canvas } from './intercom/canvas-rules.ts';

/** A card that a teammate sent in a conversation. */
export interface SharedCard {
  readonly id: string;
  readonly conversationId: string;
  readonly adminName: string;
  readonly canvas: Canvas;
  readonly atMs: number;
}

/** Cards in conversations; Intercom keeps them, and neither its API nor its webhooks tell of them. */
export interface SharedCards {
  add(card: Omit<SharedCard, 'id'>): SharedCard;
  /** Oldest first. */
  of(conversationId: string): readonly SharedCard[];
}

export function createSharedCards(): SharedCards {
  const cards: SharedCard[] = [];
  return {
    add(card) {
      const added = { ...card, id: randomUUID() };
      cards.push(added);
      return added;
    },
    of: (conversationId) => cards.filter((card) => card.conversationId === conversationId),
  };
}
