import { ApiError, callInbox } from './api.js';
import { drawCanvas } from './canvas.js';
import { element } from './dom.js';

const options = new URLSearchParams(location.search);
/** Sends a second click while the first is pending, to show that the app acts once. */
const allowsDoubleClicks = options.has('doubleclick');
/** Shows time and height of each canvas, for developers of the card. */
const showsMeasurements = options.has('measure');

/**
 * The card of the open conversation. As in the inbox, it changes only when it is opened or used.
 * @param {{onReplyCard: (card: object) => void}} options called with a card that the app adds to the reply
 */
export function createCard({ onReplyCard }) {
  const root = document.getElementById('card');
  const note = document.getElementById('card-note');
  const live = document.getElementById('card-live');
  // The card takes the focus when the focused control was replaced.
  root.tabIndex = -1;
  let subject = null;
  let canvas = null;
  let view = null;
  let pending = 0;
  let latest = 0;

  document.getElementById('reopen').addEventListener('click', () => {
    if (subject !== null) open(subject);
  });

  /** @param {{adminId: string, conversationId: string, contactId: string}} next */
  async function open(next) {
    const isSame = subject?.conversationId === next.conversationId;
    subject = next;
    if (!isSame) {
      canvas = null;
      view = null;
      note.textContent = '';
      root.replaceChildren(skeleton());
    }
    await send({ flow: 'initialize' });
  }

  /** Opens the card of the same conversation again, and highlights it. */
  async function reload() {
    await open(subject);
    root.classList.remove('is-reloaded');
    // Restarts the animation.
    void root.offsetWidth;
    root.classList.add('is-reloaded');
  }

  /** Whether anything on the card was pressed since it was opened. */
  const isInUse = () => root.dataset.flow !== 'initialize';

  async function submit(componentId, control) {
    if (pending > 0 && !allowsDoubleClicks) return;
    const inputValues = view.readValues();
    control.classList.add('is-working');
    await send({ flow: 'submit', componentId, inputValues, currentCanvas: canvas });
    control.classList.remove('is-working');
  }

  async function send(call) {
    latest += 1;
    const mine = latest;
    setPending(pending + 1);
    try {
      const answer = await callInbox('/canvas', { method: 'POST', body: { ...subject, ...call } });
      if (mine === latest) show(answer, call);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (mine === latest) showProblems([error.message], null);
    } finally {
      setPending(pending - 1);
    }
  }

  function setPending(count) {
    pending = count;
    root.setAttribute('aria-busy', String(count > 0));
  }

  function show(answer, call) {
    if (!answer.ok) {
      showProblems(answer.problems, answer.status);
      return;
    }
    canvas = answer.canvas;
    const hadFocus = root.contains(document.activeElement);
    view = drawCanvas(canvas.content, submit);
    root.replaceChildren(view.root);
    root.dataset.flow = call.flow;
    if (hadFocus) focusAgain(call.componentId);
    if (answer.replyCard) onReplyCard({ ...subject, canvas: answer.replyCard });
    live.textContent = `Card updated. ${view.root.querySelector('h4, p')?.textContent ?? ''}`;
    showNote(answer, call.flow);
  }

  /** Notes only what Intercom's reviewers would reject, and the measurements if they are on. */
  function showNote({ durationMs, findings = [] }, flow) {
    const height = Math.ceil(view.root.getBoundingClientRect().height);
    const isTooHigh = flow === 'initialize' && height > 400;
    const remarks = isTooHigh ? ['A first canvas may be 400 px high.', ...findings] : findings;
    const measured = showsMeasurements ? [`${flow} · ${durationMs} ms · ${height} px high`] : [];
    note.textContent = [...measured, ...remarks].join('\n');
    note.classList.toggle('is-warning', remarks.length > 0);
  }

  /** Replacing the used control must not move keyboard users back to the top of the page. */
  function focusAgain(componentId) {
    const used = [...root.querySelectorAll('[data-component-id]')].find(
      (node) => node.dataset.componentId === componentId,
    );
    const control = used?.querySelector('button:not(:disabled), a, input:not(:disabled)');
    (control ?? root).focus({ preventScroll: true });
  }

  function showProblems(problems, status) {
    const panel = element(
      'div',
      { class: 'problems', role: 'alert', 'data-testid': 'problems' },
      element('strong', {}, 'Intercom would show “Something went wrong” here.'),
      status !== null && element('p', {}, `The app answered with HTTP ${status}.`),
      element('ul', {}, ...problems.map((problem) => element('li', {}, problem))),
    );
    root.replaceChildren(panel, ...(view === null ? [] : [view.root]));
    note.textContent = '';
    // The panel appears above the button that was pressed.
    panel.scrollIntoView({ block: 'nearest' });
  }

  return { open, reload, isInUse };
}

function skeleton() {
  return element(
    'div',
    { class: 'skeleton', 'aria-hidden': 'true' },
    ...[80, 60, 70, 50].map((width) => element('div', { class: `bar bar-${width}` })),
  );
}
