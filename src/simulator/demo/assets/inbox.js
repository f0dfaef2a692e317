import { ApiError, callInbox, notify } from './api.js';
import { drawCanvas } from './canvas.js';
import { createCard } from './card.js';
import { createComposer } from './composer.js';
import { element, externalLink, isSafeAddress, redrawer } from './dom.js';
import { clockTime, dateAndTime, hueOf, initials, useTimeZone, writtenValue } from './format.js';
import { messageNodes } from './message-html.js';
import { createMessengerFrame } from './messenger-frame.js';
import { createReply } from './reply.js';

const POLL_MS = 2000;
const byId = (id) => document.getElementById(id);

const writing = {
  onSent: () => attempt(refreshConversation),
  onProblem: (error) => notify(error instanceof Error ? error.message : String(error), true),
};
const reply = createReply(writing);
const composer = createComposer(writing);
const card = createCard({ onReplyCard: reply.offer });
const messenger = createMessengerFrame();
let conversations = [];
let openId = null;
let adminId = null;
/** What each part shows now, so that a poll redraws only what changed and keeps focus and selection. */
const shown = new Map();
let knownEvents = null;
const openEvents = new Set();

const whenChanged = redrawer(shown);

/** Runs something that a person started or a timer repeats, and reports failures. */
async function attempt(work) {
  try {
    await work();
    if (byId('notice').classList.contains('is-problem')) notify('');
  } catch (error) {
    notify(error instanceof ApiError ? error.message : String(error), true);
    if (!(error instanceof ApiError)) throw error;
  }
}

function avatar(name) {
  return element('span', { class: `avatar hue-${hueOf(name)}`, 'aria-hidden': 'true' }, initials(name));
}

function drawConversations() {
  whenChanged('conversations', { conversations, openId }, () => {
    const hadFocus = byId('conversations').contains(document.activeElement);
    const rows = conversations.flatMap((each, index) => [
      each.group &&
        each.group !== conversations[index - 1]?.group &&
        element('li', { class: 'group' }, element('h3', {}, each.group)),
      element(
        'li',
        {},
        element(
          'button',
          {
            type: 'button',
            class: 'conversation',
            dataset: { conversationId: each.id },
            'data-testid': `conversation-${each.id}`,
            'aria-current': each.id === openId ? 'true' : null,
            // The Tab key stops only once in the list, so that the card is a few stops away.
            tabindex: each.id === openId ? null : '-1',
            onclick: () => attempt(() => openConversation(each.id, { remember: true })),
          },
          avatar(each.contactName),
          element(
            'span',
            { class: 'conversation-words' },
            element('span', { class: 'conversation-name', dir: 'auto' }, each.contactName),
            element('span', { class: 'conversation-snippet', dir: 'auto' }, each.snippet),
            each.story && element('span', { class: 'tag' }, each.story),
          ),
        ),
      ),
    ]);
    byId('conversations').replaceChildren(...rows.filter(Boolean));
    if (hadFocus) byId('conversations').querySelector('[aria-current]')?.focus();
  });
}

async function openConversation(id, { remember }) {
  const summary = conversations.find((each) => each.id === id);
  if (summary === undefined) return;
  if (id !== openId) {
    reply.close();
    knownEvents = null;
    openEvents.clear();
  }
  openId = id;
  if (remember) rememberState('pushState');
  byId('thread-name').textContent = summary.contactName;
  byId('thread-detail').textContent = summary.contactEmail;
  byId('action-customer').textContent = summary.contactName;
  messenger.show(summary.contactId);
  // The previous customer's buttons must not stay.
  byId('actions').replaceChildren();
  shown.delete('actions');
  drawConversations();
  if (!remember) centerOpenConversation();
  openCard();
  await refreshConversation();
}

/** Does not use `scrollIntoView`, with which Chromium moves the start of the Tab order. */
function centerOpenConversation() {
  const list = byId('conversations');
  const open = list.querySelector('[aria-current]');
  const left = open.offsetLeft - (list.clientWidth - open.offsetWidth) / 2;
  list.scrollTo(left, open.offsetTop - (list.clientHeight - open.offsetHeight) / 2);
}

function cardSubject() {
  const summary = conversations.find((each) => each.id === openId);
  return { adminId, conversationId: summary.id, contactId: summary.contactId };
}

function openCard() {
  if (openId === null) return;
  composer.show({ conversationId: openId, adminId });
  attempt(() => card.open(cardSubject()));
}

const STEPS = { j: 1, k: -1 };
const STEPS_IN_LIST = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };

/** `j` and `k` open the next and the previous conversation, as in Intercom; so do the arrow keys in the list. */
function setUpKeys() {
  addEventListener('keydown', (event) => {
    const isInList = byId('conversations').contains(event.target);
    const step = STEPS[event.key] ?? (isInList ? STEPS_IN_LIST[event.key] : undefined);
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input, textarea, select, [contenteditable]')) return;
    const index = conversations.findIndex((each) => each.id === openId);
    const next = conversations[index + step];
    if (next === undefined) return;
    event.preventDefault();
    attempt(() => openConversation(next.id, { remember: true }));
    document
      .querySelector(`[data-conversation-id="${CSS.escape(next.id)}"]`)
      ?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  });
}

function setUpTour() {
  const tour = byId('tour-steps');
  // Open until it is closed, except where it would hide the card.
  tour.open = localStorage.getItem('tour') !== 'closed' && matchMedia('(min-width: 861px)').matches;
  tour.addEventListener('toggle', () => localStorage.setItem('tour', tour.open ? 'open' : 'closed'));
  byId('tour-actions').addEventListener('click', (event) => {
    // Otherwise this same click would close the menu again.
    event.stopPropagation();
    byId('actions-menu').open = true;
    byId('actions-menu').querySelector('summary').focus();
  });
}

function rememberState(method) {
  const query = new URLSearchParams(location.search);
  query.set('conversation', openId);
  query.set('admin', adminId);
  history[method](null, '', `${location.pathname}?${query}`);
}

async function refreshConversation() {
  const id = openId;
  if (id === null) return;
  const { conversation, contact, actions, faults } = await callInbox(
    `/conversations/${encodeURIComponent(id)}`,
  );
  if (id !== openId) return;
  whenChanged('thread', conversation, () => drawThread(conversation));
  whenChanged('contact', contact, () => drawContact(contact));
  whenChanged('actions', [contact.id, actions], () => drawActions(contact.id, actions));
  whenChanged('faults', faults, () => drawFaults(faults));
}

function drawThread(conversation) {
  const thread = byId('thread');
  const isAtEnd = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 40;
  const isOther = thread.dataset.conversation !== conversation.id;
  thread.dataset.conversation = conversation.id;
  thread.replaceChildren(
    ...conversation.messages.map((message) =>
      element(
        'article',
        { class: `message message-${message.author}`, dataset: { author: message.author } },
        message.author === 'customer' && avatar(message.authorName),
        element(
          'div',
          { class: 'bubble' },
          message.author === 'note' && element('p', { class: 'note-label' }, 'Internal note'),
          element('div', { class: 'message-text', dir: 'auto' }, ...messageNodes(message.html)),
          message.card !== undefined && sharedCard(message.card),
          element('p', { class: 'byline' }, `${message.authorName} · ${dateAndTime(message.atMs)}`),
        ),
      ),
    ),
  );
  if (isAtEnd || isOther) thread.scrollTop = thread.scrollHeight;
}

/** A Messenger card in the thread. A teammate can see it but not use it. */
function sharedCard(canvas) {
  const content = canvas?.content && drawCanvas(canvas.content, () => {}).root;
  if (content) for (const control of content.querySelectorAll('button')) control.disabled = true;
  return element(
    'div',
    { class: 'shared-card' },
    element('p', { class: 'card-chip' }, 'Card: the customer’s own subscription'),
    content,
  );
}

/** An attribute with its meaning, where the app described it, beside the raw name. */
function attributePair(name, value, description) {
  const { plain, hint } = writtenValue(name, value);
  if (!description) return pair(name, plain, hint);
  return element(
    'div',
    { class: 'pair attribute' },
    element('dt', {}, description, element('code', {}, name)),
    element('dd', {}, hint ?? plain, hint && element('span', { class: 'hint' }, plain)),
  );
}

function pair(field, value, hint = null) {
  return element(
    'div',
    { class: 'pair' },
    element('dt', {}, field),
    element(
      'dd',
      { title: hint === null ? value : `${value} · ${hint}` },
      value,
      hint && element('span', { class: 'hint' }, hint),
    ),
  );
}

function drawContact(contact) {
  const rows = [
    ['Role', contact.role],
    ['Email', contact.email],
    ['User ID', contact.externalId],
    ['Contact ID', contact.id],
  ];
  byId('contact').replaceChildren(
    ...rows.filter(([, value]) => value).map(([field, value]) => pair(field, value)),
  );

  const attributes = Object.entries(contact.customAttributes).filter(
    ([, value]) => value !== null && value !== undefined,
  );
  byId('attribute-count').textContent = String(attributes.length);
  byId('attributes').replaceChildren(
    attributes.length === 0
      ? element('p', { class: 'empty' }, 'No attributes yet.')
      : element(
          'dl',
          { class: 'pairs written', 'data-testid': 'attributes' },
          ...attributes.map(([name, value]) =>
            attributePair(name, value, contact.attributeDescriptions?.[name]),
          ),
        ),
  );
  drawEvents(contact.events);
}

function drawEvents(events) {
  const newestFirst = events
    .map((event, index) => ({ ...event, key: `${index}:${event.name}:${event.createdAtS}` }))
    .sort((a, b) => b.createdAtS - a.createdAtS);
  byId('event-count').textContent = String(events.length);
  const rows = newestFirst.map((event) => {
    const isNew = knownEvents !== null && !knownEvents.has(event.key);
    const metadata = Object.entries(event.metadata ?? {});
    return element(
      'li',
      {},
      element(
        'details',
        {
          class: isNew ? 'event is-new' : 'event',
          open: openEvents.has(event.key),
          ontoggle: ({ currentTarget }) => {
            if (currentTarget.open) openEvents.add(event.key);
            else openEvents.delete(event.key);
          },
        },
        element(
          'summary',
          {},
          element('span', { class: 'event-name' }, event.name),
          element('span', { class: 'event-time' }, dateAndTime(event.createdAtS * 1000)),
        ),
        metadata.length === 0
          ? element('p', { class: 'empty' }, 'No metadata.')
          : element(
              'dl',
              { class: 'pairs written' },
              ...metadata.map(([name, value]) => metadataPair(name, value)),
            ),
      ),
    );
  });
  knownEvents = new Set(newestFirst.map((event) => event.key));
  byId('events').replaceChildren(
    rows.length === 0
      ? element('p', { class: 'empty' }, 'No events yet.')
      : element('ul', { class: 'events', 'data-testid': 'events' }, ...rows),
  );
}

function metadataPair(name, value) {
  if (isSafeAddress(value?.url)) {
    const link = externalLink(value.url, {}, String(value.value ?? value.url));
    return element('div', { class: 'pair' }, element('dt', {}, name), element('dd', {}, link));
  }
  const { plain, hint } = writtenValue(name, value);
  return pair(name, plain, hint);
}

/**
 * For three seconds, or until the card is used again, reloads the card each time the webhooks' events reach the
 * contact. If nothing changed on the contact, reloads the card once at the end.
 */
async function reloadCard(before) {
  let seen = before;
  for (const deadline = Date.now() + 3000; Date.now() < deadline; ) {
    await refreshConversation();
    const contact = shown.get('contact');
    if (contact !== seen) {
      if (seen !== before && card.isInUse()) return;
      seen = contact;
      await card.reload();
    }
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  if (seen === before) await card.reload();
}

function drawActions(contactId, actions) {
  const buttons = actions.map((action) =>
    element(
      'button',
      {
        type: 'button',
        class: 'menu-item',
        'data-testid': `action-${action.id}`,
        onclick: (event) => {
          event.currentTarget.closest('details').open = false;
          attempt(async () => {
            const path = `/contacts/${encodeURIComponent(contactId)}/actions`;
            const before = shown.get('contact');
            const { message } = await callInbox(path, { method: 'POST', body: { actionId: action.id } });
            notify(`${message} The card loads again, as when the conversation is opened again.`);
            await reloadCard(before);
          });
        },
      },
      action.label,
    ),
  );
  byId('actions').replaceChildren(
    ...(buttons.length === 0
      ? [element('p', { class: 'empty' }, 'Nothing can happen to this customer.')]
      : buttons),
  );
}

function drawFaults(faults) {
  const active = faults.filter((fault) => fault.on).length;
  byId('fault-count').textContent = String(active);
  byId('fault-count').hidden = active === 0;
  const rows = faults.map((fault) =>
    element(
      'label',
      { class: 'menu-item switch' },
      element('input', {
        type: 'checkbox',
        role: 'switch',
        checked: fault.on,
        'data-testid': `fault-${fault.name}`,
        onchange: (event) => {
          const { checked } = event.currentTarget;
          attempt(async () => {
            const path = `/faults/${encodeURIComponent(fault.name)}`;
            const after = await callInbox(path, { method: 'PUT', body: { on: checked } });
            notify(`${fault.label}: ${checked ? 'on' : 'off'}.`);
            // Redrawing would take the focus from the switch, whose state is already right.
            shown.set('faults', JSON.stringify(after));
            const count = after.filter((each) => each.on).length;
            byId('fault-count').textContent = String(count);
            byId('fault-count').hidden = count === 0;
          });
        },
      }),
      element('span', {}, fault.label),
    ),
  );
  byId('faults').replaceChildren(...rows);
}

function setUpMenus() {
  const menus = [...document.querySelectorAll('details.menu')];
  document.addEventListener('click', (event) => {
    for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
  });
  for (const menu of menus) {
    menu.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !menu.open) return;
      menu.open = false;
      menu.querySelector('summary').focus();
    });
  }
}

function showClock() {
  byId('clock').textContent = clockTime(new Date());
}

function stateFromAddress(admins) {
  const query = new URLSearchParams(location.search);
  const wantedAdmin = query.get('admin');
  const wantedConversation = query.get('conversation');
  adminId = admins.find((admin) => admin.id === wantedAdmin)?.id ?? admins[0]?.id ?? null;
  const found = conversations.find((each) => each.id === wantedConversation) ?? conversations[0];
  return found?.id ?? null;
}

async function start() {
  const [setup, list] = await Promise.all([callInbox('/setup'), callInbox('/conversations')]);
  conversations = list;
  useTimeZone(setup.timeZone);
  byId('settings').href = new URL('/settings', setup.appUrl).href;
  const first = stateFromAddress(setup.admins);

  const select = byId('admin');
  select.replaceChildren(...setup.admins.map(({ id, name }) => element('option', { value: id }, name)));
  select.value = adminId;
  select.addEventListener('change', () => {
    adminId = select.value;
    rememberState('replaceState');
    openCard();
  });
  addEventListener('popstate', () => {
    const id = stateFromAddress(setup.admins);
    select.value = adminId;
    if (id !== null) attempt(() => openConversation(id, { remember: false }));
  });

  setUpMenus();
  setUpKeys();
  setUpTour();
  // A long conversation must scroll with the arrow keys.
  byId('thread').tabIndex = 0;
  showClock();
  setInterval(showClock, 1000);
  if (first !== null) {
    await openConversation(first, { remember: false });
    rememberState('replaceState');
  }
  poll();
}

async function poll() {
  if (!document.hidden) {
    await attempt(async () => {
      await refreshConversation();
      conversations = await callInbox('/conversations');
      drawConversations();
    });
  }
  setTimeout(poll, POLL_MS);
}

attempt(start);
