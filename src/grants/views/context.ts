import type { Database } from '../../database/sql.ts';
import type { Messages } from '../../i18n/messages.ts';
import type { Component, InboxCanvas } from '../../intercom/canvas.ts';
import type { Names } from '../../subscription/names.ts';
import type { LifecycleEvent, SubscriberState } from '../../subscription/types.ts';
import type { Project } from '../../workspaces/projects.ts';
import type { Workspace } from '../../workspaces/store.ts';
import type { GrantContext } from '../context.ts';
import type { Teammate } from '../types.ts';
import type { GrantFormState } from './form-state.ts';

/** The customer that a view is about. */
export interface Customer {
  readonly subscriber: {
    readonly subscriberId: string;
    readonly appUserIds: readonly string[];
    readonly snapshotAtMs: number | null;
  };
  readonly project: Project;
  readonly state: SubscriberState;
  /** The newest events, newest first. */
  readonly latest: readonly LifecycleEvent[];
  readonly names: Names;
  /** The id to act with. */
  readonly appUserId: string;
}

/**
 * What a view needs of the card that shows it: one request, with the customer it is about. The inbox card passes its
 * own object, which has these fields and more.
 */
export interface Visit {
  readonly services: GrantContext & {
    /** May be a replica, up to half a second behind: for the views that change nothing. */
    readonly readDatabase: Database;
    readonly publicUrl: string;
  };
  readonly request: {
    readonly workspaceId: string;
    readonly conversationId: string | null;
    readonly admin: Teammate;
    readonly contact: { readonly id: string };
    readonly inputs: Readonly<Record<string, string>>;
  };
  readonly workspace: Workspace;
  readonly customer: Customer;
  /** Texts, dates and amounts in the teammate's language and the workspace's time zone. */
  readonly messages: Messages;
  /** Signed by the previous canvas. */
  readonly formState: GrantFormState;
  /** The canvas was drawn more than 30 minutes ago: a view that changes something shows its review again. */
  readonly isOutdated: boolean;
  /** A canvas with a way back, which carries `formState` to the next request. */
  page(components: readonly Component[], formState?: GrantFormState): InboxCanvas;
}

/** A view: what pressing a component shows. */
export interface GrantView {
  /** Whether it may be drawn from a replica, because it changes nothing. */
  readonly readOnly: boolean;
  /** @param argument what follows the colon of the component's id */
  render(context: Visit, argument: string): Promise<InboxCanvas>;
}

export function page(
  context: Visit,
  components: readonly Component[],
  formState?: GrantFormState,
): InboxCanvas {
  return context.page(components, formState);
}
