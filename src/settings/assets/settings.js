// Turns the page green when an event arrives. Without it, reloading the page does the same.
const POLL_MS = 2_000;
const waiting = new Set(document.querySelectorAll('[data-project][data-waiting]'));

async function look() {
  const answer = await fetch('/settings/revenuecat/status', { headers: { Accept: 'application/json' } });
  if (!answer.ok) return;
  const { projects } = await answer.json();
  for (const element of waiting) {
    const last = projects.find((each) => each.id === element.dataset.project)?.last_received_at;
    // Of a project that was connected before, the page knows the last event from then.
    if (!last || last === element.dataset.received) continue;
    waiting.delete(element);
    element.classList.replace('todo', 'good');
    element.textContent = 'Events arrive. One has just come.';
  }
}

if (waiting.size > 0) {
  const timer = setInterval(() => {
    if (waiting.size === 0) clearInterval(timer);
    else if (!document.hidden) look().catch(() => {});
  }, POLL_MS);
}
