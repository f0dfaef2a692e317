import type { Teammate } from '../database/entities.ts';
import { AppError, nullOn } from '../errors.ts';
import type { Language } from '../i18n/languages.ts';
import type { Messages } from '../i18n/messages.ts';
import type { InboxCanvas, Part } from '../intercom/canvas.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { recordKeyState } from '../subscribers/refresh.ts';
import { preferredAppUserIds } from '../subscription/identities.ts';
import type { Names } from '../subscription/names.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { withTimeout } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/repository.ts';
import type { Grant } from './action.ts';
import { failed } from './action-error.ts';
import type { ActionFormState } from './form-state.ts';

/** The part of the inbox card's customer that actions need. */
export interface ActionCustomer {
  readonly subscriber: {
    readonly subscriberId: string;
    readonly appUserIds: readonly string[];
  };
  readonly project: Project;
  readonly state: SubscriberState;
  /** The newest grants that were made here. */
  readonly grantActions: readonly Grant[];
  /** How old what is stored is. */
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
  /** A canvas with a way back unless it is the first one, which passes `formState` on to the next request. */
  page(parts: readonly Part[], formState?: ActionFormState): InboxCanvas;
}

/** A customer is known under any of their ids, and has few. */
const MAX_IDS = 3;
/** How long a view waits for RevenueCat before it shows what is stored, ms. */
export const READ_TIMEOUT_MS = 2_000;

/** Codes of errors of RevenueCat as a whole: they say nothing of the customer, and pass. */
export const OUTAGE_ERRORS: readonly string[] = ['revenuecat_unavailable', 'revenuecat_rate_limited'];

/** Ids to act with, best first; empty: RevenueCat accepts none. */
export function usableIds(customer: ActionCustomer): string[] {
  const { appUserIds } = customer.subscriber;
  const ids = customer.appUserId === '' ? appUserIds : [customer.appUserId, ...appUserIds];
  return preferredAppUserIds(ids);
}

/** Reads something of the customer by the first id that RevenueCat knows. Throws ActionError, as `readNow`. */
export function readCustomer<T>(
  context: ActionContext,
  read: (client: RevenueCatClient, appUserId: string) => Promise<T>,
): Promise<T> {
  return readNow(context, async (client) => {
    for (const appUserId of usableIds(context.customer).slice(0, MAX_IDS)) {
      const found = await nullOn('revenuecat_not_found', read(client, appUserId));
      if (found !== null) return found;
    }
    throw failed('unknown_customer');
  });
}

/** Reads from RevenueCat within the time that an agent waits. Throws ActionError when it fails. */
export async function readNow<T>(
  { app, customer }: ActionContext,
  read: (client: RevenueCatClient) => Promise<T>,
): Promise<T> {
  const { workspaceId } = customer.project;
  const client = app.revenueCat(customer.project, { timeoutMs: READ_TIMEOUT_MS });
  if (!client) throw failed('revenuecat_unauthorized');
  try {
    return await withTimeout(read(client), READ_TIMEOUT_MS, () => {
      throw failed('revenuecat_unavailable');
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'revenuecat_unauthorized') await recordKeyState(app, customer.project, 'rejected');
    app.logger.warn({ code: error.code, workspaceId }, 'not read from RevenueCat');
    throw failed(error.code);
  }
}
