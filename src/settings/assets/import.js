// Shows how a running import goes on. Without it, reloading the page does the same.
const POLL_MS = 2_000;
const running = [...document.querySelectorAll('[data-import][data-state="running"]')];

async function look() {
  const answer = await fetch('/settings/import/status', { headers: { Accept: 'application/json' } });
  if (!answer.ok) return;
  const { imports } = await answer.json();
  for (const section of running) {
    const found = imports.find((each) => each.project === section.dataset.import);
    // Another state has other words and buttons: the page knows them.
    if (found?.state !== 'running') {
      location.reload();
      return;
    }
    section.querySelector('[data-import-line]').textContent = found.line;
    const bar = section.querySelector('progress');
    if (found.percent !== null) bar.value = found.percent;
  }
}

if (running.length > 0) {
  setInterval(() => {
    if (!document.hidden) look().catch(() => {});
  }, POLL_MS);
}
