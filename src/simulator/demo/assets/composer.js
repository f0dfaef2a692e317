import { callInbox } from './api.js';

const PLACEHOLDERS = { reply: 'Write a reply…', note: 'Write a note that only your team sees…' };

/**
 * Where a teammate writes: a reply, which the customer's Messenger shows, or a note for the team.
 * @param {{onSent: () => void, onProblem: (error: unknown) => void}} options
 * @returns {{show: (subject: {conversationId: string, adminId: string}) => void}}
 */
export function createComposer({ onSent, onProblem }) {
  const form = document.getElementById('composer');
  const text = document.getElementById('composer-text');
  const send = form.querySelector('button');
  let subject = null;

  const kind = () => form.elements.namedItem('kind').value;

  function draw() {
    form.classList.toggle('is-note', kind() === 'note');
    text.placeholder = PLACEHOLDERS[kind()];
    send.disabled = text.value.trim() === '';
  }

  form.addEventListener('input', draw);
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.metaKey || event.ctrlKey)) form.requestSubmit();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (send.disabled || subject === null) return;
    const { conversationId, adminId } = subject;
    send.disabled = true;
    try {
      const path = `/conversations/${encodeURIComponent(conversationId)}/messages`;
      await callInbox(path, { method: 'POST', body: { adminId, kind: kind(), text: text.value } });
      text.value = '';
      onSent();
    } catch (error) {
      onProblem(error);
    }
    draw();
    text.focus();
  });

  return {
    show(next) {
      // A draft belongs to its conversation.
      if (subject !== null && subject.conversationId !== next.conversationId) text.value = '';
      subject = next;
      form.hidden = false;
      draw();
    },
  };
}
