import type { LRUCache } from 'lru-cache';
import type { IntercomClient } from '../intercom/client.ts';
import type { AttributeType } from '../intercom/data-attributes.ts';
import type { History } from '../subscribers/history.ts';
import type { Subscriber } from '../subscribers/repository.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Workspace } from '../workspaces/repository.ts';
import type { Claim } from './claims.ts';
import type { DeliveryMetrics } from './metrics.ts';
import type { OutboxWriter } from './outbox.ts';

export interface DeliveryContext extends Pick<AppContext, 'database' | 'logger' | 'jobs' | 'now'> {
  readonly writer: OutboxWriter;
  random(): number;
  readonly metrics: DeliveryMetrics;
  /** Stops further calls of this process for a workspace (epoch ms). */
  pause(workspaceId: string, untilMs: number): void;
  /** Types that a workspace's attributes turned out to have, by name; attributes that it lacks are missing. */
  readonly attributeTypes: LRUCache<string, ReadonlyMap<string, AttributeType>>;
}

/** One worker's run for a claimed subscriber, whose events each have a delivery of their own (`EventDelivery`). */
export interface DeliveryRun {
  readonly context: DeliveryContext;
  readonly workspace: Workspace;
  readonly client: IntercomClient;
  readonly claim: Claim;
  /** Both read after it was claimed. */
  readonly subscriber: Subscriber;
  readonly history: History;
  /** Called before each call that changes something. @throws LeaseLostError when the lease is no longer this worker's */
  requireLease(): void;
}

/** Another worker may have the subscriber now, or this one stops. */
export class LeaseLostError extends Error {}
