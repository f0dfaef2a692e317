import type { Language } from '../i18n/languages.ts';
import type { Messages } from '../i18n/messages.ts';
import type { Component, InboxCanvas } from '../intercom/canvas.ts';
import type { Names } from '../subscription/names.ts';
import type { SubscriberState } from '../subscription/types.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/store.ts';
import type { ActionFormState, Reviewed } from './form-state.ts';
import type { Action, Refusal, Teammate } from './types.ts';

/** The customer of a card, as the actions need it. */
export interface ActionCustomer {
  readonly subscriber: {
    readonly subscriberId: string;
    readonly appUserIds: readonly string[];
    readonly snapshotAtMs: number | null;
  };
  readonly project: Project;
  readonly state: SubscriberState;
  readonly latest: readonly { readonly atMs: number }[];
  readonly names: Names;
  /** The preferred id. */
  readonly appUserId: string;
}

/** A teammate's request about one customer: all that the service needs. */
export interface AgentRequest {
  readonly admin: Teammate;
  readonly conversationId: string | null;
  readonly context: AppContext;
  readonly workspace: Workspace;
  readonly customer: ActionCustomer;
  readonly contactId: string | null;
}

/** Why a request is not carried out. */
export type Obstacle =
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** Something in the form; the card has a message for each problem. */
  | { readonly kind: 'invalid'; readonly problem: string }
  /** RevenueCat refuses this key, does not respond, or does not know the customer. */
  | { readonly kind: 'failed'; readonly code: string };

export type ReviewResult = { readonly kind: 'ready'; readonly reviewed: Reviewed } | Obstacle;

/** Something has changed, or time has passed, since the review: it must be confirmed again. */
export interface ReviewAgain {
  readonly kind: 'review_again';
  readonly reason: 'changed' | 'stale';
  readonly reviewed: Reviewed;
}

export interface Done {
  readonly kind: 'done';
  readonly action: Action;
  /** An earlier request has done it, or is doing it. */
  readonly isKnown: boolean;
  /** The single-use link of `manage`, which is not stored. */
  readonly url?: string;
}

export type ActionResult = Done | ReviewAgain | Obstacle;

/** Something of a canvas; what is absent is left out. */
export type Part = Component | readonly Part[] | false | null | undefined;

/** What a view of an action gets from the card. */
export interface ActionView extends AgentRequest {
  /** In the teammate's language. */
  readonly messages: Messages;
  /** In the customer's language: texts to copy into the reply. */
  readonly customerMessages: Messages;
  readonly inputs: Readonly<Record<string, string>>;
  readonly formState: ActionFormState;
  /** The canvas was drawn more than 30 minutes ago: a view that changes something shows its review again. */
  readonly isOutdated: boolean;
  /** Draws a canvas with a way back, which carries `formState` to the next request. */
  page(parts: readonly Part[], formState?: ActionFormState): InboxCanvas;
}

/** What the inbox card passes: its own object, which has these fields and more. */
export interface CardVisit
  extends Pick<ActionView, 'workspace' | 'customer' | 'messages' | 'formState' | 'isOutdated'> {
  page(components: readonly Component[], formState?: ActionFormState): InboxCanvas;
  readonly services: ActionView['context'];
  readonly request: {
    readonly admin: Teammate;
    readonly conversationId: string | null;
    readonly contact: { readonly id: string; readonly language: Language | null };
    readonly inputs: Readonly<Record<string, string>>;
  };
}

export interface ActionViewEntry {
  /** It changes nothing, so it may be read from a replica. */
  readonly readOnly: boolean;
  /** @param argument what follows the colon of the component's id */
  render(visit: CardVisit, argument: string): Promise<InboxCanvas>;
}
