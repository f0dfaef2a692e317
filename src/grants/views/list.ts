import { button, type Component, clip, type InboxCanvas, item, list, text } from '../../intercom/canvas.ts';
import { isForever } from '../ends.ts';
import { pageOfGrants, readGrant } from '../store.ts';
import type { Grant } from '../types.ts';
import { type Customer, page, type Visit } from './context.ts';
import { wordsOf } from './said.ts';

const PAGE = 10;
const SEPARATOR = ' · ';

/** Everything granted to the customer from here, newest first, ten a page. */
export async function grantsList(
  visit: Visit,
  customer: Customer,
  direction: 'older' | 'newer' | null = null,
): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const { services: context, request, formState } = visit;
  const { subscriberId } = customer.subscriber;
  const at = formState.grants;
  const from =
    direction !== null && at
      ? ({ direction, grantId: direction === 'older' ? at.last : at.first } as const)
      : null;
  const read = await pageOfGrants(context.readDatabase, request.workspaceId, subscriberId, from, PAGE + 1);
  const hasMore = read.length > PAGE;
  // One more was read than is shown: the one that lies farther on.
  const shown = !hasMore ? read : from?.direction === 'newer' ? read.slice(1) : read.slice(0, PAGE);
  const hasOlder = from?.direction === 'newer' ? true : hasMore;
  const hasNewer = from?.direction === 'newer' ? hasMore : from !== null;
  const components: Component[] = [
    text(words.titles.grants, 'header'),
    ...(shown.length === 0
      ? [text(words.states.noGrants, 'muted')]
      : [list(shown.map((grant) => lineOf(visit, grant)))]),
    ...(hasNewer ? [button('grants:newer', words.buttons.newer, 'link')] : []),
    ...(hasOlder ? [button('grants:older', words.buttons.older, 'link')] : []),
    button('grant', words.buttons.grant, 'secondary'),
  ];
  const [first, last] = [shown[0], shown.at(-1)];
  return page(
    visit,
    components,
    first && last ? { grants: { first: first.grantId, last: last.grantId } } : undefined,
  );
}

function lineOf(visit: Visit, grant: Grant) {
  const about = [stateText(visit, grant), grant.admin.name, grant.reason].filter(Boolean);
  return item(`grant:${grant.grantId}`, clip(grant.entitlementName, 60), {
    subtitle: clip(about.join(SEPARATOR), 160),
    tertiary: visit.messages.date(grant.createdAtMs),
  });
}

function stateText(visit: Visit, grant: Grant): string {
  const { lines } = wordsOf(visit);
  switch (grant.state) {
    case 'awaiting_approval':
      return lines.awaiting;
    case 'requested':
    case 'revoking':
      return lines.pending;
    case 'declined':
    case 'withdrawn':
    case 'failed':
    case 'revoked':
      return lines[grant.state];
    case 'confirmed': {
      const endMs = grant.realEndMs ?? grant.askedEndMs;
      if (isForever(endMs)) return lines.forever;
      const end = visit.messages.date(endMs);
      return endMs <= visit.services.now() ? lines.ended(end) : lines.until(end);
    }
  }
}

/** `null`: the grant is not this customer's. */
export async function findGrant(visit: Visit, customer: Customer, grantId: string): Promise<Grant | null> {
  const grant = await readGrant(visit.services.database, visit.request.workspaceId, grantId);
  return grant && grant.subscriberId === customer.subscriber.subscriberId ? grant : null;
}

/** A grant that is not there, or not this customer's. */
export function goneGrant(visit: Visit): InboxCanvas {
  const words = wordsOf(visit);
  return page(visit, [text(words.states.gone, 'muted'), button('grants', words.buttons.grants, 'secondary')]);
}
