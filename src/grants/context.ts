import type { Teammate } from '../database/entities.ts';
import type { Language } from '../i18n/languages.ts';
import type { Messages } from '../i18n/messages.ts';
import type { InboxCanvas, Part } from '../intercom/canvas.ts';
import type { Names } from '../subscription/names.ts';
import type { SubscriberState } from '../subscription/types.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/repository.ts';
import type { Grant } from './action.ts';
import type { ActionFormState } from './form-state.ts';

/** The part of the inbox card's customer that actions need. */
export interface ActionCustomer {
  readonly subscriberId: string;
  readonly appUserIds: readonly string[];
  readonly project: Project;
  readonly state: SubscriberState;
  /** The newest grants that were made here. */
  readonly grantActions: readonly Grant[];
  /** When the stored data was last updated. */
  readonly dataAtMs: number;
  readonly names: Names;
  /** The preferred id. */
  readonly appUserId: string;
}

/** A teammate's request about one customer: the part of the inbox card's context that actions need. */
export interface ActionContext {
  readonly app: AppContext;
  readonly workspace: Workspace;
  readonly customer: ActionCustomer;
  readonly request: {
    readonly admin: Teammate;
    readonly conversationId: string | null;
    readonly contact: { readonly id: string };
  };
}

/** The same, with what views need to draw a canvas. */
export interface ViewContext extends ActionContext {
  readonly request: ActionContext['request'] & {
    readonly contact: { readonly language: Language | null };
    readonly inputs: Readonly<Record<string, string>>;
  };
  /** In the teammate's language. */
  readonly messages: Messages;
  readonly formState: ActionFormState;
  /** The canvas was drawn more than 30 minutes ago: a view that changes something shows its review again. */
  readonly isOutdated: boolean;
  /** Builds a canvas that passes `formState` on to the next request, with a back link unless it is the first canvas. */
  page(parts: readonly Part[], formState?: ActionFormState): InboxCanvas;
}
