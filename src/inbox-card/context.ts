import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import type { GrantContext } from '../grants/grant.ts';
import type { Grant } from '../grants/store.ts';
import type { Component, InboxCanvas } from '../intercom/canvas.ts';
import { canvas, wayBack } from '../intercom/canvas.ts';
import type { Names } from '../subscribers/describe-event.ts';
import type { Subscriber, TimelineEntry } from '../subscribers/store.ts';
import type { SubscriberState } from '../subscribers/types.ts';
import type { Project, Workspace } from '../workspaces/store.ts';
import type { Dates } from './dates.ts';
import type { CardRequest } from './request.ts';
import { type Carried, sealCarried } from './stored-data.ts';
import type { CardWords } from './words.ts';

export interface CardContext extends GrantContext {
  readonly database: Database;
  /** May be a replica: for the views that change nothing. */
  readonly readDatabase: Database;
  readonly logger: Logger;
  readonly publicUrl: string;
  /** Signs what canvases carry. */
  readonly storedDataKey: string;
  /** Reads the subscriber anew; resolves early when it takes longer than `waitMs`. */
  refresh(
    workspaceId: string,
    subscriberId: string,
    waitMs: number,
  ): Promise<'refreshed' | 'later' | 'unavailable'>;
}

/** One request, with what every view needs. */
export interface Visit {
  readonly context: CardContext;
  readonly request: CardRequest;
  readonly workspace: Workspace;
  readonly projects: readonly Project[];
  readonly carried: Carried;
  readonly words: CardWords;
  readonly dates: Dates;
}

/** The customer that a card shows. */
export interface Customer {
  readonly subscriber: Subscriber;
  readonly project: Project;
  readonly state: SubscriberState;
  /** Oldest first; grants made here stand in for webhooks that have not come yet. */
  readonly history: readonly TimelineEntry[];
  readonly grants: readonly Grant[];
  readonly names: Names;
  /** Whether the match is a link that somebody saved. */
  readonly isLinked: boolean;
  /** The id to act with, best first. */
  readonly appUserId: string;
}

/** Any canvas but the first: with a way back, and carrying signed data when it needs some. */
export function page(visit: Visit, components: readonly Component[], carried?: Carried): InboxCanvas {
  const { request, context, words } = visit;
  return canvas(
    [...components, ...wayBack(words.buttons.back)],
    carried && sealCarried(context.storedDataKey, carrierOf(request), carried),
  );
}

export function carrierOf(request: CardRequest): { workspaceId: string; adminId: string; contactId: string } {
  return { workspaceId: request.workspaceId, adminId: request.admin.id, contactId: request.contact.id };
}
