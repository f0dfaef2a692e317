import {
  describeEvent,
  type EventPart,
  type EventTitle,
  type Reason,
} from '../subscription/describe-event.ts';
import type { Names } from '../subscription/names.ts';
import { APP_STORES, storeName } from '../subscription/names.ts';
import type { LifecycleEvent } from '../subscription/types.ts';
import type { Messages } from './messages.ts';
import { storeText, type Voice } from './sentences.ts';

/** One line of a timeline: a title and what else there is to say, without the date. */
export interface EventText {
  readonly title: string;
  readonly subtitle: string;
}

export function eventText(m: Messages, voice: Voice, event: LifecycleEvent, names: Names): EventText {
  const { title, parts } = describeEvent(event, names);
  return {
    title: typeof title === 'string' ? titleText(m, voice, title) : title.text,
    subtitle: parts
      .map((part) => partText(m, voice, part))
      .filter((part) => part !== null)
      .join(' · '),
  };
}

/** Customers have titles of their own for what they are shown. */
function titleText(m: Messages, voice: Voice, title: EventTitle): string {
  const own = `event.${voice}.title.${title}`;
  return m.t(m.has(own) ? own : `event.agent.title.${title}`);
}

function partText(m: Messages, voice: Voice, part: EventPart): string | null {
  switch (part.kind) {
    case 'name':
      return part.text;
    case 'money':
      return m.money(part.money);
    case 'reason':
      return reasonText(m, voice, part.reason, part.store);
    case 'change':
      return m.t('event.change', { from: part.from, to: part.to });
    case 'offer':
      return m.t('event.offer', { code: part.code });
    case 'variant':
      return m.t('event.variant', { experiment: part.experiment, variant: part.variant });
    case 'store':
      return voice === 'customer' ? appStore(part.store) : storeText(m, part.store);
    case 'family':
      return m.t('event.familySharing');
    case 'amounts':
      return part.amounts
        .map(({ amount, name }) => [m.number(Math.abs(amount)), name].filter(Boolean).join(' '))
        .join(', ');
  }
}

/** A store that customers may read by name. */
function appStore(store: string | null): string | null {
  return store !== null && APP_STORES.has(store) ? storeName(store) : null;
}

function reasonText(m: Messages, voice: Voice, reason: Reason, store: string | null): string | null {
  const known = voice === 'customer' && appStore(store) === null ? null : store;
  const theStore = m.t('event.theStore', { store: known, name: storeText(m, known) });
  // A refund's title says everything where it is unknown who gave it.
  return m.t(`event.${voice}.reason.${reason}`, { store: known, theStore }) || null;
}
