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
  /** Stops this process's calls for a workspace until `untilMs` (epoch ms). */
  pause(workspaceId: string, untilMs: number): void;
  /** Actual types of a workspace's attributes, by name. Attributes that the workspace lacks are missing. */
  readonly attributeTypes: LRUCache<string, ReadonlyMap<string, AttributeType>>;
}

/** One worker's run for a claimed subscriber, whose events each have a delivery of their own (`EventDelivery`). */
export interface DeliveryRun {
  readonly context: DeliveryContext;
  readonly workspace: Workspace;
  readonly client: IntercomClient;
  readonly claim: Claim;
  /** `subscriber` and `history` are read after the claim. */
  readonly subscriber: Subscriber;
  readonly history: History;
  /** Called before each call that changes something. @throws LeaseLostError when this worker has lost the lease */
  requireLease(): void;
}

/** The lease has expired or the worker's id has changed: another worker may have claimed the subscriber. */
export class LeaseLostError extends Error {}
