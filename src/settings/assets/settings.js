// Conveniences of the settings. Every page works without them: text can be selected, and pages can be reloaded.
const POLL_MS = 2_000;
const FEEDBACK_MS = 2_000;
/** Longer than a double click, shorter than the patience of someone whose connection failed. */
const SENT_FOR_MS = 5_000;

function addCopyButtons() {
  for (const button of document.querySelectorAll('[data-copy]')) {
    const source = document.getElementById(button.dataset.copy);
    if (!source || !navigator.clipboard) continue;
    const label = button.innerHTML;
    button.hidden = false;
    button.setAttribute('aria-live', 'polite');
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = 'Copied';
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = 'Selected: copy it now';
      }
      setTimeout(() => {
        button.innerHTML = label;
      }, FEEDBACK_MS);
    });
  }
}

function addFilters() {
  for (const box of document.querySelectorAll('[data-filter]')) {
    const input = box.querySelector('input');
    const entries = [...document.getElementById(box.dataset.filter).children];
    box.hidden = false;
    input.addEventListener('input', () => {
      const wanted = input.value.trim().toLowerCase();
      for (const entry of entries) entry.hidden = !entry.textContent.toLowerCase().includes(wanted);
    });
    // The input is inside the form, so Enter would submit the form.
    input.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') event.preventDefault();
    });
  }
}

/** Ticking a person switches from "everyone" to selected people: under "everyone" the tick would be lost. */
function choosePeople() {
  for (const list of document.querySelectorAll('.people')) {
    list.addEventListener('change', () =>
      list.closest('fieldset').querySelector('[value="selected"]').click(),
    );
  }
}

/** Sends a form once: the response to the second click of a double click would hide the response to the first. */
function ignoreDoubleClicks() {
  let sentAtMs = new WeakMap();
  addEventListener('submit', (event) => {
    if (event.timeStamp < sentAtMs.get(event.target) + SENT_FOR_MS) event.preventDefault();
    else sentAtMs.set(event.target, event.timeStamp);
  });
  // After Back the browser may show this same page again, and its forms must work.
  addEventListener('pageshow', () => {
    sentAtMs = new WeakMap();
  });
}

/** Makes Reload fetch the page: sending the form again would create another key, or end the value just copied. */
function reloadWithoutSending() {
  history.replaceState(history.state, '', location.href);
}

/** Turns the page green when the first event arrives. */
function watchProjects() {
  const waiting = new Set(document.querySelectorAll('[data-project][data-waiting]'));
  poll(waiting.size > 0, '/settings/revenuecat/status', ({ projects }) => {
    for (const element of waiting) {
      const last = projects.find(({ id }) => id === element.dataset.project)?.last_received_at;
      // A project that was connected before already had a last event when the page was rendered.
      if (!last || last === element.dataset.received) continue;
      waiting.delete(element);
      element.classList.replace('todo', 'good');
      element.textContent = 'Events arrive. The first one is here.';
    }
    return waiting.size > 0;
  });
}

/** Shows the progress of an import, or of a grant to many customers: choosing them, granting, or undoing it. */
function watchProgress() {
  for (const section of document.querySelectorAll('[data-progress]')) {
    // Screen readers announce quarters only: they would never finish reading a line that changes every two seconds.
    const status = document.createElement('p');
    status.className = 'hidden';
    status.role = 'status';
    section.append(status);
    let quarter = null;
    poll(true, section.dataset.progress, ({ state, line, percent }) => {
      // Another state has other texts and buttons, which the server renders.
      if (state !== section.dataset.state) {
        location.reload();
        return false;
      }
      section.querySelector('[data-line]').textContent = line;
      if (percent !== null) section.querySelector('progress').value = percent;
      const reached = Math.floor(percent / 25);
      if (reached !== quarter) status.textContent = line;
      quarter = reached;
      return true;
    });
  }
}

function poll(isNeeded, url, update) {
  if (!isNeeded) return;
  setTimeout(async () => {
    let goOn = true;
    try {
      if (!document.hidden) {
        const response = await fetch(url, { headers: { Accept: 'application/json' } });
        if (response.ok) goOn = update(await response.json());
      }
    } catch {
      // Tried again below.
    }
    poll(goOn, url, update);
  }, POLL_MS);
}

addCopyButtons();
addFilters();
choosePeople();
ignoreDoubleClicks();
reloadWithoutSending();
watchProjects();
watchProgress();
