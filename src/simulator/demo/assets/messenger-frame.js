/** The customer's Messenger in a frame, beside the conversation. */
export function createMessengerFrame() {
  const button = document.getElementById('messenger-toggle');
  const panel = document.getElementById('messenger-panel');
  const frame = panel.querySelector('iframe');
  let contactId = null;

  function draw() {
    const isOpen = button.getAttribute('aria-expanded') === 'true';
    panel.hidden = !isOpen;
    const address =
      isOpen && contactId !== null ? `/messenger?contact=${encodeURIComponent(contactId)}` : 'about:blank';
    if (frame.getAttribute('src') !== address) frame.setAttribute('src', address);
  }

  button.addEventListener('click', () => {
    button.setAttribute('aria-expanded', String(button.getAttribute('aria-expanded') !== 'true'));
    draw();
    // On a narrow screen the panel is below the conversation.
    if (!panel.hidden) panel.scrollIntoView({ block: 'nearest' });
  });
  panel.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') button.click();
  });

  return {
    /** @param {string} next the customer's contact */
    show(next) {
      contactId = next;
      draw();
    },
  };
}
