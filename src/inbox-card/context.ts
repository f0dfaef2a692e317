import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import type { GrantContext } from '../grants/context.ts';
import type { Grant } from '../grants/types.ts';
import type { DateFormatter } from '../i18n/dates.ts';
import type { Messages } from '../i18n/messages.ts';
import type { Component, InboxCanvas } from '../intercom/canvas.ts';
import { backLink, canvas } from '../intercom/canvas.ts';
import type { HistorySource, TimelineEntry } from '../subscribers/store.ts';
import type { CustomerDescription } from '../subscription/describe-customer.ts';
import type { Names } from '../subscription/names.ts';
import type { LifecycleEvent, SubscriberState } from '../subscription/types.ts';
import type { Project } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/store.ts';
import type { Openings } from './canvas-cache.ts';
import type { CardReader } from './card-reader.ts';
import type { CatalogCache } from './catalog-cache.ts';
import type { Language } from './language.ts';
import type { CardRequest } from './request.ts';
import type { Candidate } from './store.ts';
import { type FormState, signFormState } from './stored-data.ts';
import type { CardWords } from './words/types.ts';

/** How a refresh that the agent waits for has ended. */
export type Refreshed =
  | 'refreshed'
  | 'no_key'
  | 'key_rejected'
  | 'unknown_customer'
  /** It goes on in the background. */
  | 'later'
  | 'unavailable';

export interface CardServices extends GrantContext {
  readonly database: Database;
  /** May be a replica, up to half a second behind: for the views that change nothing. */
  readonly readDatabase: Database;
  /** From `readDatabase`. */
  readonly readCard: CardReader;
  /** Awaited after a change: from then on every card shows it, wherever it is read from. */
  readonly settle?: () => Promise<unknown>;
  readonly logger: Logger;
  readonly publicUrl: string;
  /** Signs what canvases carry. */
  readonly storedDataKey: string;
  readonly catalog: CatalogCache;
  readonly openings: Openings;
  /** Asks RevenueCat for the subscriber, without waiting for it. */
  refreshLater(workspaceId: string, subscriberId: string): void;
  /** Looks for somebody in RevenueCat whom nobody knows here, without waiting for it. */
  readonly importLater?: (workspaceId: string, projectId: string, appUserId: string) => void;
  /** Reads the subscriber anew; resolves early when it takes longer than `waitMs`. */
  refresh(workspaceId: string, subscriberId: string, waitMs: number): Promise<Refreshed>;
}

/** One request, with what every view needs. */
export interface CardContext {
  readonly services: CardServices;
  readonly request: CardRequest;
  readonly workspace: Workspace;
  readonly projects: readonly Project[];
  /** Who the contact may be: one for each project at most. */
  readonly candidates: readonly Candidate[];
  readonly formState: FormState;
  readonly language: Language;
  readonly words: CardWords;
  readonly dates: DateFormatter;
  readonly messages: Messages;
  readonly isOutdated: boolean;
  page(components: readonly Component[], formState?: FormState): InboxCanvas;
}

/** A request about a customer that is known. */
export interface CustomerContext extends CardContext {
  readonly customer: Customer;
}

/** The customer that a card shows. */
export interface Customer {
  readonly subscriber: Pick<
    Candidate,
    'subscriberId' | 'projectId' | 'appUserIds' | 'email' | 'snapshotAtMs' | 'waiting'
  >;
  readonly project: Project;
  readonly state: SubscriberState;
  /** What the state means, for sentences and tables. */
  readonly description: CustomerDescription;
  /** The newest events that matter, newest first; grants made here stand in for webhooks that have not come. */
  readonly latest: readonly LifecycleEvent[];
  /** Events by environment. */
  readonly counts: Readonly<Record<'production' | 'sandbox', number>>;
  /** Grants made here whose webhook has not come, as the events that it will bring. */
  readonly fallbackEvents: readonly TimelineEntry[];
  /** Where the timeline's events come from. */
  readonly sources: readonly HistorySource[];
  readonly grants: readonly Grant[];
  readonly names: Names;
  readonly link: Candidate['link'];
  /** The id to act with, best first. */
  readonly appUserId: string;
}

/** Any canvas but the first: with a way back, and carrying signed data when it needs some. */
export function page(
  context: CardContext,
  components: readonly Component[],
  formState?: FormState,
): InboxCanvas {
  return canvas([...components, ...backLink(context.words.buttons.back)], seal(context, formState));
}

/**
 * A canvas that opens with the conversation, or that *Back* leads to. Answering anything else it has a way back
 * like every other.
 */
export function first(
  context: CardContext,
  components: readonly Component[],
  formState?: FormState,
): InboxCanvas {
  return isFirst(context)
    ? canvas(components, seal(context, formState))
    : page(context, components, formState);
}

export function isFirst(context: CardContext): boolean {
  const { componentId } = context.request;
  return componentId === null || componentId === 'home';
}

/** The teammate's choice stays with every canvas of this card. */
function seal(context: CardContext, formState: FormState = {}): Record<string, unknown> | undefined {
  const { chosen } = context.formState;
  const all: FormState = chosen === undefined ? formState : { chosen, ...formState };
  if (Object.keys(all).length === 0) return undefined;
  return signFormState(context.services.storedDataKey, carrierOf(context.request), all);
}

export function carrierOf(request: CardRequest): { workspaceId: string; adminId: string; contactId: string } {
  return { workspaceId: request.workspaceId, adminId: request.admin.id, contactId: request.contact.id };
}
