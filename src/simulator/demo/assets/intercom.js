import { callPlatform, notify } from './api.js';
import { element, redrawer } from './dom.js';
import { dateAndTime, useTimeZone, writtenValue } from './format.js';

const POLL_MS = 1000;
const byId = (id) => document.getElementById(id);

const has = (name) => (person) => person.events.some((event) => event.name === name);
const started = has('rc_trial_started_event');
const cancelled = has('rc_trial_cancelled_event');
const converted = has('rc_trial_converted_event');

const FILTERS = [
  { id: 'all', label: 'All people', condition: 'No condition', matches: () => true },
  {
    id: 'cancelled-trial',
    label: 'Cancelled a free trial',
    condition: 'Event rc_trial_cancelled_event · count is at least 1',
    matches: cancelled,
  },
  {
    id: 'in-trial',
    label: 'In a free trial',
    condition: 'Attribute subscription_status · is trial',
    matches: ({ attributes }) => attributes.subscription_status === 'trial',
  },
  {
    id: 'payment-failed',
    label: 'Payment failed',
    condition: 'Attribute subscription_status · is grace_period',
    matches: ({ attributes }) => attributes.subscription_status === 'grace_period',
  },
];

const STEPS = [
  { id: 'entered', title: 'Entered', text: 'Trial started: welcome message', matches: started },
  {
    id: 'waiting',
    title: 'In the Series',
    text: 'Tips on day 1, 3 and 5',
    matches: (person) => started(person) && !cancelled(person) && !converted(person),
  },
  {
    id: 'goal',
    title: 'Goal',
    text: 'Trial converted',
    matches: (person) => started(person) && converted(person),
  },
  {
    id: 'exit',
    title: 'Exit',
    text: 'Trial cancelled: survey',
    matches: (person) => started(person) && cancelled(person) && !converted(person),
  },
];

let filter = FILTERS[1];
let openId = null;
let latest = { people: [], descriptions: {} };
/** What each part shows, so that a poll redraws only what changed. */
const whenChanged = redrawer(new Map());
/** Who was in a list before, by list, so that newcomers can be highlighted. */
const shownBefore = new Map();

/** The ids that were not in this list when it was drawn last. */
function newcomers(list, ids) {
  const before = shownBefore.get(list);
  shownBefore.set(list, new Set(ids));
  return new Set(before === undefined ? [] : ids.filter((id) => !before.has(id)));
}

function draw() {
  drawFilters();
  drawSeries();
  drawPeople();
  drawDetail();
}

function drawFilters() {
  const counts = FILTERS.map(({ matches }) => latest.people.filter(matches).length);
  whenChanged('filters', [counts, filter.id], () => {
    const focused = document.activeElement?.dataset?.filter;
    byId('filters').replaceChildren(
      ...FILTERS.map((each, index) =>
        element(
          'button',
          {
            type: 'button',
            class: 'filter',
            dataset: { filter: each.id },
            'data-testid': `filter-${each.id}`,
            'aria-pressed': String(each === filter),
            onclick: () => {
              filter = each;
              draw();
            },
          },
          each.label,
          element('span', {}, String(counts[index])),
        ),
      ),
    );
    if (focused) document.querySelector(`[data-filter="${focused}"]`)?.focus();
    byId('condition').textContent = filter.condition;
  });
}

function drawSeries() {
  const groups = STEPS.map((step) =>
    latest.people.filter(step.matches).map(({ id, name }) => ({ id, name })),
  );
  whenChanged('series', groups, () => {
    byId('series').replaceChildren(
      ...STEPS.map((step, index) => {
        const people = groups[index].toReversed();
        const isNew =
          newcomers(
            step.id,
            people.map(({ id }) => id),
          ).size > 0;
        return element(
          'div',
          { class: isNew ? 'step is-new' : 'step', 'data-testid': `step-${step.id}` },
          element('h3', {}, step.title, element('span', { class: 'number' }, String(people.length))),
          element('p', {}, step.text),
          element(
            'ul',
            { tabindex: 0, 'aria-label': step.title },
            ...people.map(({ name }) => element('li', {}, name)),
          ),
        );
      }),
    );
  });
}

function drawPeople() {
  const people = latest.people.filter(filter.matches).toReversed();
  const rows = people.map(({ id, name, attributes, events }) => {
    const last = events.toSorted((a, b) => b.createdAtS - a.createdAtS)[0];
    return {
      id,
      name,
      status: attributes.subscription_status ?? '–',
      product: attributes.rc_product ?? '–',
      last,
    };
  });
  whenChanged('people', [filter.id, openId, rows], () => {
    const fresh = newcomers(
      `people:${filter.id}`,
      rows.map(({ id }) => id),
    );
    const focused = document.activeElement?.dataset?.person;
    byId('people').replaceChildren(
      ...rows.map(({ id, name, status, product, last }) =>
        element(
          'tr',
          { class: [fresh.has(id) && 'is-new', id === openId && 'is-open'].filter(Boolean).join(' ') },
          element(
            'td',
            {},
            element(
              'button',
              {
                type: 'button',
                class: 'person',
                dataset: { person: id },
                onclick: () => {
                  openId = id;
                  draw();
                },
              },
              name,
            ),
          ),
          element('td', {}, element('code', {}, status)),
          element('td', {}, product),
          element('td', {}, last ? element('code', {}, last.name) : '–'),
        ),
      ),
    );
    if (rows.length === 0)
      byId('people').append(element('tr', {}, element('td', { colspan: 4 }, 'Nobody matches this filter.')));
    if (focused) document.querySelector(`[data-person="${focused}"]`)?.focus();
  });
}

function drawDetail() {
  const person = latest.people.find(({ id }) => id === openId) ?? latest.people.find(filter.matches);
  whenChanged('detail', person ?? null, () => {
    if (!person) {
      byId('detail').replaceChildren(element('p', { class: 'empty' }, 'Choose a person.'));
      return;
    }
    const attributes = Object.entries(person.attributes).filter(([, value]) => value !== null);
    const events = person.events.toSorted((a, b) => b.createdAtS - a.createdAtS);
    byId('detail').replaceChildren(
      element('h3', {}, person.name),
      element('p', { class: 'visually-quiet' }, person.email ?? person.externalId ?? ''),
      element('h4', {}, 'Attributes'),
      element('dl', { class: 'pairs written' }, ...attributes.map(attributeRow)),
      element('h4', {}, 'Events'),
      element(
        'ul',
        {},
        ...events.map((event) =>
          element(
            'li',
            { class: 'pair attribute' },
            element('code', {}, event.name),
            element('span', { class: 'event-time' }, dateAndTime(event.createdAtS * 1000)),
          ),
        ),
      ),
      ...(events.length === 0 ? [element('p', { class: 'empty' }, 'No events yet.')] : []),
    );
  });
}

function attributeRow([name, value]) {
  const { plain, hint } = writtenValue(name, value);
  const description = latest.descriptions[name];
  return element(
    'div',
    { class: 'pair attribute' },
    element('dt', {}, description || name, description && element('code', {}, name)),
    element('dd', {}, hint ?? plain, hint && element('span', { class: 'hint' }, plain)),
  );
}

async function refresh() {
  latest = await callPlatform('/intercom/people');
  // Shows the same times as the inbox.
  useTimeZone(latest.timeZone);
  draw();
}

for (const button of document.querySelectorAll('[data-action]')) {
  button.addEventListener('click', async () => {
    try {
      const { message } = await callPlatform(`/intercom/trials/${button.dataset.action}`, {
        method: 'POST',
      });
      notify(message);
      await refresh();
    } catch (error) {
      notify(error.message, true);
    }
  });
}

// A wide table must scroll with the arrow keys.
document.querySelector('.table-scroll').tabIndex = 0;

async function poll() {
  if (!document.hidden) await refresh().catch((error) => notify(error.message, true));
  setTimeout(poll, POLL_MS);
}

// Highlights end with their animation.
document.addEventListener('animationend', ({ target }) =>
  target.closest?.('.is-new')?.classList.remove('is-new'),
);
poll();
