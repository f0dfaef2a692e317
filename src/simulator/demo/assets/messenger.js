import { callMessenger } from './api.js';
import { drawCanvas } from './canvas.js';
import { element } from './dom.js';
import { dateAndTime } from './format.js';
import { messageNodes } from './message-html.js';

const POLL_MS = 2_000;
const contactId = new URLSearchParams(location.search).get('contact') ?? '';
const byId = (id) => document.getElementById(id);
const homeCard = document.querySelector('#home .app-card');

/** What the messages show now, so that a poll redraws only what changed. */
let shownMessages = '';

function report(error) {
  byId('problem').hidden = error === null;
  byId('problem').textContent = error === null ? '' : error.message;
}

/**
 * One card. The content of a live canvas is requested each time it is shown, for the viewer; a submit may
 * make it live again.
 */
function createCard(root, place) {
  let latest = 0;

  async function send(request) {
    latest += 1;
    const mine = latest;
    root.setAttribute('aria-busy', 'true');
    try {
      const body = { ...place, contactId, locale: byId('locale').value, ...request };
      const answer = await callMessenger('/canvas', { method: 'POST', body });
      if (mine === latest) await take(answer, request);
      report(null);
    } catch (error) {
      report(error);
    } finally {
      root.setAttribute('aria-busy', 'false');
    }
  }

  async function take(answer, request) {
    if (!answer.ok) {
      const problems = answer.problems.map((problem) => element('li', {}, problem));
      root.replaceChildren(
        element(
          'div',
          { class: 'problems', role: 'alert' },
          'Something went wrong',
          element('ul', {}, ...problems),
        ),
      );
      return;
    }
    const { canvas } = answer;
    if (canvas.content_url !== undefined) {
      await send({ flow: 'live', currentCanvas: canvas });
      return;
    }
    const view = drawCanvas(canvas.content, (componentId, control) => {
      control.classList.add('is-working');
      send({ flow: 'submit', componentId, inputValues: view.readValues(), currentCanvas: canvas });
    });
    const hadFocus = root.contains(document.activeElement);
    root.replaceChildren(view.root);
    root.dataset.flow = request.flow;
    if (hadFocus) root.querySelector('button:not(:disabled), a')?.focus({ preventScroll: true });
  }

  return {
    open: () => send({ flow: 'initialize' }),
    show: (canvas) => take({ ok: true, canvas }, { flow: 'initialize' }).catch(report),
  };
}

const home = createCard(homeCard, { location: 'home' });

function drawMessages(person) {
  const text = JSON.stringify([person.messages, byId('locale').value]);
  if (text === shownMessages) return;
  shownMessages = text;
  byId('messages').replaceChildren(
    ...person.messages.map((message) => {
      const body = element(
        'div',
        { class: 'bubble' },
        element('div', { class: 'message-text', dir: 'auto' }, ...messageNodes(message.html)),
        element(
          'p',
          { class: 'byline' },
          `${message.author === 'customer' ? 'You' : message.authorName} · ${dateAndTime(message.atMs)}`,
        ),
      );
      if (message.canvas) {
        const root = element('article', {
          class: 'app-card',
          'data-testid': 'shared-card',
          'aria-label': 'Subscription card',
        });
        body.append(root);
        const place = { location: 'conversation', conversationId: person.conversationId };
        createCard(root, place).show(message.canvas);
      }
      return element('article', { class: `message message-${message.author}` }, body);
    }),
  );
}

async function refresh() {
  const person = await callMessenger(`/people/${encodeURIComponent(contactId)}`);
  byId('greeting').textContent = `Hi ${person.name.split(' ')[0]}`;
  byId('identity').textContent = person.role === 'user' ? 'Signed in' : 'Not signed in';
  // A support link is valid for some minutes, so it is created when the customer taps on it.
  byId('support').hidden = person.role !== 'user';
  byId('support').href = `/messenger/api/people/${encodeURIComponent(contactId)}/support`;
  drawMessages(person);
}

for (const button of document.querySelectorAll('nav button')) {
  button.addEventListener('click', () => {
    for (const each of document.querySelectorAll('nav button')) {
      each.setAttribute('aria-pressed', String(each === button));
      byId(each.dataset.space).hidden = each !== button;
    }
    // Each view of a live card is requested again.
    if (button.dataset.space === 'home') home.open();
    else {
      shownMessages = '';
      refresh().catch(report);
    }
  });
}

byId('locale').addEventListener('change', () => {
  document.documentElement.lang = byId('locale').value;
  home.open();
  refresh().catch(report);
});

async function poll() {
  if (!document.hidden) await refresh().catch(report);
  setTimeout(poll, POLL_MS);
}

home.open();
poll();
