import { callInbox } from './api.js';
import { element } from './dom.js';

/**
 * @param {{onSent: () => void, onProblem: (error: unknown) => void}} options
 * @returns {{offer: (card: {conversationId: string, adminId: string, canvas: unknown}) => void, close: () => void}}
 */
export function createReply({ onSent, onProblem }) {
  const root = document.getElementById('reply');

  function close() {
    root.hidden = true;
    root.replaceChildren();
  }

  function offer({ conversationId, adminId, canvas }) {
    const send = async () => {
      try {
        const path = `/conversations/${encodeURIComponent(conversationId)}/cards`;
        await callInbox(path, { method: 'POST', body: { adminId, canvas } });
        close();
        onSent();
      } catch (error) {
        onProblem(error);
      }
    };
    root.replaceChildren(
      element(
        'p',
        { class: 'card-chip', 'data-testid': 'reply-card' },
        'Card: the customer’s own subscription',
      ),
      element(
        'button',
        { type: 'button', class: 'button button-primary', 'data-testid': 'send-card', onclick: send },
        'Send card',
      ),
      element('button', { type: 'button', class: 'button button-link', onclick: close }, 'Discard'),
    );
    root.hidden = false;
  }

  return { offer, close };
}
