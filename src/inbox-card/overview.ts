import {
  button,
  type Component,
  canvas,
  escapeMarkdown,
  type InboxCanvas,
  item,
  linkButton,
  list,
  table,
  text,
} from '../intercom/canvas.ts';
import { describeEvent, storeName } from '../subscribers/describe-event.ts';
import { formatMoney } from '../subscribers/money.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import type { Customer, Visit } from './context.ts';
import { endText, overviewSentence } from './sentence.ts';

const LAST_EVENTS = 3;

/** The first canvas: at most 400 px high, nothing primary on it. */
export function overview(visit: Visit, customer: Customer, notice?: string): InboxCanvas {
  const { words, dates } = visit;
  const { state } = customer;
  const { primary } = state;
  const components: Component[] = [];
  if (notice) components.push(text(notice, 'muted'));
  components.push(text(escapeMarkdown(overviewSentence(visit, customer))));
  if (primary) {
    const endLabel = !primary.givesAccess
      ? words.labels.ended
      : primary.willRenew
        ? words.labels.renews
        : words.labels.ends;
    const paid = state.paid.filter((money) => money.amountMinor !== 0);
    components.push(
      ...table([
        [words.labels.store, storeName(primary.store, words.events)],
        [endLabel, endText(visit, primary.endsAtMs)],
        [
          words.labels.payingSince,
          state.firstPurchaseAtMs === null ? null : dates.date(state.firstPurchaseAtMs),
        ],
        [words.labels.paid, paid.map((money) => formatMoney(money, words.locale)).join(', ')],
      ]),
    );
  }
  const latest = customer.history.slice(-LAST_EVENTS).reverse();
  if (latest.length > 0) components.push(list(latest.map((event) => shortItem(visit, customer, event))));
  components.push(button('grant', words.buttons.grant, 'secondary'));
  components.push(
    list([
      item('timeline', words.buttons.timeline),
      item('details', words.buttons.details),
      item('grants', words.buttons.grants),
      item('refresh', words.buttons.refresh),
    ]),
  );
  return canvas(components);
}

function shortItem(visit: Visit, customer: Customer, event: TimelineEntry) {
  const { title } = describeEvent(event, customer.names, visit.words.events);
  return item(`event:${event.id}`, title, { tertiary: visit.dates.date(event.atMs) });
}

/** A first canvas with nothing but a sentence and a way on. */
export function plainCanvas(
  visit: Pick<Visit, 'words'>,
  sentence: string,
  way?: { label: string; url: string },
): InboxCanvas {
  return canvas([
    text(sentence, 'muted'),
    ...(way ? [linkButton('open', way.label, way.url)] : []),
    button('refresh', visit.words.buttons.refresh, 'link'),
  ]);
}
