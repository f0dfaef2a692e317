// Turns the page green when the first event arrives. Without it, reloading the page does the same.
const POLL_MS = 2_000;
const waiting = [...document.querySelectorAll('[data-project][data-received=""]')];

async function look() {
  const answer = await fetch('/settings/revenuecat/status', { headers: { Accept: 'application/json' } });
  if (!answer.ok) return;
  const { projects } = await answer.json();
  for (const element of waiting) {
    const project = projects.find((each) => each.id === element.dataset.project);
    if (!project?.last_received_at || element.dataset.received !== '') continue;
    element.dataset.received = project.last_received_at;
    element.classList.replace('todo', 'good');
    element.textContent = 'Events arrive. The first one has just come.';
  }
}

if (waiting.length > 0) {
  const timer = setInterval(() => {
    if (waiting.every((element) => element.dataset.received !== '')) clearInterval(timer);
    else if (!document.hidden) look().catch(() => {});
  }, POLL_MS);
}
