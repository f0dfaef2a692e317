import type { Language } from '../i18n/languages.ts';
import type { Messages } from '../i18n/messages.ts';
import type { InboxCanvas, Part } from '../intercom/canvas.ts';
import type { Names } from '../subscription/names.ts';
import type { SubscriberState } from '../subscription/types.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/store.ts';
import type { Action, Refusal, Teammate } from './action.ts';
import type { ActionFormState, Reviewed } from './form-state.ts';

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

/** A teammate's request about one customer: what the rules need of the inbox card's context. */
export interface ActionContext {
  readonly services: AppContext;
  readonly workspace: Workspace;
  readonly customer: ActionCustomer;
  readonly request: {
    readonly admin: Teammate;
    readonly conversationId: string | null;
    readonly contact: { readonly id: string };
  };
}

/** Why a request is not carried out; the card has a message for each code. */
export type Obstacle =
  /** By the workspace's rules, or because it is not possible. */
  | ({ readonly kind: 'refused' } & Refusal)
  /** Something in the form. */
  | { readonly kind: 'invalid'; readonly code: string }
  /** RevenueCat refuses this key, does not respond, or does not know the customer. */
  | { readonly kind: 'failed'; readonly code: string };

export type ReviewResult = { readonly kind: 'ready'; readonly reviewed: Reviewed } | Obstacle;

/** What differs between the two forms: that of a grant, and those of store actions. */
export interface Rules<Form, R extends Reviewed, A extends Action> {
  /** The form, checked, and exactly what the action would do. */
  prepare(context: ActionContext, form: Form): Promise<ReviewResult>;
  /** What was reviewed, checked at the confirm against the policy and what RevenueCat has now. */
  recheck(context: ActionContext, reviewed: R): Promise<ReviewResult | ReviewAgain>;
  /** What waits for approval, as its approval would do it now. Its key is the id of the action. */
  reviewRequested(context: ActionContext, action: A): Promise<R>;
  /** Whether a second teammate must approve it. */
  needsSecondPerson(context: ActionContext, reviewed: R): boolean;
}

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

/** What the views of actions need of it. */
export interface ActionView extends ActionContext {
  readonly request: ActionContext['request'] & {
    readonly contact: { readonly language: Language | null };
    readonly inputs: Readonly<Record<string, string>>;
  };
  /** In the teammate's language. */
  readonly messages: Messages;
  readonly formState: ActionFormState;
  /** The canvas was drawn more than 30 minutes ago: a view that changes something shows its review again. */
  readonly isOutdated: boolean;
  /** A canvas with a way back, which carries `formState` to the next request. */
  page(parts: readonly Part[], formState?: ActionFormState): InboxCanvas;
}
