import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventText } from '../../src/i18n/event-text.ts';
import { LANGUAGES, type Language } from '../../src/i18n/languages.ts';
import { messagesFor } from '../../src/i18n/messages.ts';
import type { CustomerContext } from '../../src/inbox-card/customer.ts';
import { cutSentences, overview } from '../../src/inbox-card/overview.ts';
import { canvas } from '../../src/intercom/canvas.ts';
import { describeCustomer } from '../../src/subscription/describe-customer.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { CASES } from '../subscription/cases.ts';
import { day } from '../subscription/histories.ts';
import { MAX_FIRST_CANVAS_PX, useCardHeights } from '../support/card-height.ts';

/** The optional parts of a card, besides its sentence and its events. */
interface Situation {
  readonly notice?: 'card.state.keyRejected' | 'card.state.disconnected';
  readonly isShared?: boolean;
  readonly hasGrants?: boolean;
  readonly hasProjects?: boolean;
  readonly hasReceiver?: boolean;
}

const SITUATIONS: readonly Situation[] = [
  {},
  { isShared: true },
  { hasReceiver: true, hasProjects: true, hasGrants: true, isShared: true },
  { notice: 'card.state.keyRejected', isShared: true },
  {
    notice: 'card.state.disconnected',
    hasReceiver: true,
    hasProjects: true,
    hasGrants: true,
    isShared: true,
  },
];

/** How many canvases of each situation are measured: those with the most text. */
const MEASURED = 60;

const LONG_ID = '$RCAnonymousID:0123456789abcdef0123456789abcdef';

interface Names {
  product(id: string): string | null;
  entitlement(key: string): string | null;
}

const SHORT: Names = { product: () => null, entitlement: () => null };
const LONG: Names = {
  product: (id) => `${id}: Premium Family Unlimited, Every Month`,
  entitlement: (key) => `${key}: Premium Family Unlimited`,
};

/** What is the same in all languages and situations, computed once: it takes most of a drawing's time. */
const CUSTOMERS = [SHORT, LONG].flatMap((names) =>
  CASES.map(({ name, events, snapshot, on }) => {
    const nowMs = day(on);
    const state = deriveState(events, snapshot ?? null, nowMs);
    return {
      name,
      events,
      description: describeCustomer(state, { names, nowMs, grantedBy: () => 'Maximilian Mustermann' }),
      state,
      names,
      link: { name: 'Maximilian Mustermann', atMs: nowMs },
      snapshotAtMs: nowMs,
    };
  }),
);

type Customer = (typeof CUSTOMERS)[number];

function draw(
  customer: Customer & { readonly latest: LifecycleEvent[] },
  language: Language,
  what: Situation,
) {
  const m = messagesFor(language);
  const project = {
    projectId: 'p',
    revenueCatProjectId: 'proj1',
    name: 'The first app',
    apiKeyState: what.notice ? 'rejected' : 'ok',
  };
  const other = { projectId: 'other', name: 'Another app with a long name' };
  const context = {
    app: { config: { publicUrl: 'https://app.example' } },
    messages: m,
    request: { contact: { externalId: what.isShared ? LONG_ID : null, isLead: false } },
    projects: [project, other],
    candidates: what.hasProjects ? [{ project }, { project: other }] : [{ project }],
    customer: {
      ...customer,
      project,
      receiverId: what.hasReceiver ? 'receiver' : null,
      appUserIds: [LONG_ID],
      appUserId: LONG_ID,
      email: null,
      matchedBy: 'link',
      hasActions: what.hasGrants === true,
      actions: what.hasGrants ? [{ state: 'awaiting_approval' }] : [],
      grantActions: what.hasGrants ? [{}, {}] : [],
      counts: { production: 1_234, sandbox: 0 },
    },
    page: (parts: Parameters<typeof canvas>[0]) => canvas(parts),
  };
  return overview(context as unknown as CustomerContext, what.notice ? m.t(what.notice) : null);
}

/** The three of a customer's events that have the longest titles. */
function longestEvents({ events, names }: Customer, language: Language): LifecycleEvent[] {
  return events
    .map((event) => ({ event, text: eventText(messagesFor(language), event, { voice: 'agent', names }) }))
    .sort((a, b) => b.text.title.length - a.text.title.length)
    .slice(0, 3)
    .map(({ event }) => event);
}

describe('the first canvas', () => {
  const heightsOf = useCardHeights();

  for (const language of LANGUAGES) {
    test(`in ${language} is at most 400 px high whatever it says, and shows three events where it says little`, async () => {
      const all = CUSTOMERS.flatMap((each) => {
        const customer = { ...each, latest: longestEvents(each, language) };
        return SITUATIONS.map((what) => ({ ...each, what, canvas: draw(customer, language, what) }));
      });
      const longest = SITUATIONS.flatMap((what) =>
        all
          .filter((each) => each.what === what)
          .map((each) => ({ ...each, length: JSON.stringify(each.canvas).length }))
          .sort((a, b) => b.length - a.length)
          .slice(0, MEASURED),
      );
      const heights = await heightsOf(longest.map(({ canvas }) => canvas));
      const [highest] = longest
        .map(({ name, canvas }, index) => ({ px: heights[index] ?? 0, name, canvas }))
        .sort((a, b) => b.px - a.px);
      assert.ok(highest && highest.px <= MAX_FIRST_CANVAS_PX, JSON.stringify(highest, null, 1));
      for (const { name, events, what, canvas } of all) {
        if (what.notice !== undefined) continue;
        const [, sentence = ''] = /\*\*(.*?)\*\*/.exec(JSON.stringify(canvas)) ?? [];
        const [timeline] = canvas.content.components.flatMap((each) =>
          each.type === 'list' ? each.items : [],
        );
        const shown = timeline?.subtitle?.split(' · ') ?? [];
        if (sentence.length <= (language === 'ja' ? 60 : 130))
          assert.equal(shown.length, Math.min(3, events.length), name);
      }
    });
  }

  test('names what went wrong and the next charge of several subscriptions below any notice', () => {
    for (const each of CUSTOMERS) {
      const { statements } = each.description;
      if (!statements.some(({ kind }) => kind === 'several')) continue;
      for (const language of LANGUAGES) {
        const customer = { ...each, latest: longestEvents(each, language) };
        const m = messagesFor(language);
        for (const notice of ['card.state.keyRejected', 'card.state.disconnected'] as const) {
          const text = JSON.stringify(draw(customer, language, { notice }));
          for (const statement of statements) {
            const atMs =
              statement.kind === 'several'
                ? statement.next
                : statement.kind === 'paymentFailed'
                  ? statement.on
                  : null;
            if (atMs !== null) assert.ok(text.includes(m.date(atMs)), `${each.name} ${language}: ${text}`);
            if (statement.kind !== 'several') continue;
            const isNamed = ({ what }: { what: string }) => text.includes(/^\w{1,8}/.exec(what)?.[0] ?? what);
            assert.ok(statement.items.slice(0, 1).every(isNamed), text);
            const [, more = 0] = /and (\d+) more/.exec(text) ?? [];
            if (language === 'en')
              assert.ok(
                statement.items.filter(isNamed).length + Number(more) >= statement.items.length,
                text,
              );
          }
        }
      }
    }
  });

  test('cuts a sentence at its end, and not within a date or a sum', () => {
    const cuts: readonly (readonly [text: string, maxLength: number, shown: string])[] = [
      [
        'Die Zahlung ist am 31. Jan. 2026 fehlgeschlagen. Kein Zugriff seit dem 31. Jan. 2026. Team, 19,00 $.',
        90,
        'Die Zahlung ist am 31. Jan. 2026 fehlgeschlagen. Kein Zugriff seit dem 31. Jan. 2026.',
      ],
      ['Falha em 31 de jan. de 2026. Ainda tem Pro.', 40, 'Falha em 31 de jan. de 2026.'],
      ['Paiement échoué le 31 janv. 2026. A encore Pro.', 40, 'Paiement échoué le 31 janv. 2026.'],
      ['Team、$19.00/月。次回請求 2026年2月5日。', 20, 'Team、$19.00/月。'],
      ['premium, $9.99 a month. team granted for life.', 30, 'premium, $9.99 a month.'],
      ['A plan with a very long name for $1,009.99 a month.', 40, 'A plan with a very long name for …'],
      ['とても長い名前のプラン、$1,009.99/月。', 30, 'とても長い名前のプラン、…'],
    ];
    for (const [text, maxLength, shown] of cuts) assert.equal(cutSentences(text, maxLength), shown);
  });
});
