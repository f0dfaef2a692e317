import { callPlatform, notify } from './api.js';
import { element } from './dom.js';
import { dateAndTime } from './format.js';

/** The project that the person at the demo connects comes first. */
const OWN_PROJECT = 'projyours';
const POLL_MS = 2000;
const main = document.getElementById('projects');
let shown = '';

async function act(path, options) {
  try {
    const { message } = await callPlatform(path, options);
    notify(message);
    await refresh();
  } catch (error) {
    notify(error.message, true);
  }
}

function secret(value, label) {
  const copy = async () => {
    await navigator.clipboard.writeText(value);
    notify(`${label} copied.`);
  };
  return element(
    'span',
    { class: 'secret' },
    element('code', {}, value),
    element(
      'button',
      { type: 'button', class: 'small-button', 'aria-label': `Copy ${label}`, onclick: copy },
      'Copy',
    ),
  );
}

function drawProject(project) {
  const base = `/revenuecat/projects/${encodeURIComponent(project.id)}/webhooks`;
  return element(
    'section',
    {
      class: 'panel project',
      'aria-labelledby': `title-${project.id}`,
      'data-testid': `project-${project.id}`,
    },
    element('h2', { id: `title-${project.id}` }, project.name),
    project.id === OWN_PROJECT &&
      element(
        'p',
        { class: 'lead' },
        'Install the app in “Your workspace”, then paste this project ID and key in its settings under RevenueCat.',
      ),
    element(
      'dl',
      {},
      element('dt', {}, 'Project ID'),
      element('dd', {}, secret(project.id, 'Project ID')),
      ...project.keys.flatMap(({ key, status }) => [
        element('dt', {}, status === 'valid' ? 'Secret API key' : `Secret API key (${status})`),
        element('dd', {}, secret(key, 'API key')),
      ]),
      element('dt', {}, 'Customers'),
      element('dd', {}, String(project.customers)),
    ),
    element('h3', {}, 'Webhooks'),
    project.webhooks.length === 0
      ? element('p', { class: 'empty' }, 'No webhooks yet.')
      : webhookTable(project, base),
    webhookForm(base),
  );
}

function webhookTable(project, base) {
  const rows = project.webhooks.map(({ id, name, url, hasAuthorization, lastDelivery }) =>
    element(
      'tr',
      {},
      element('td', {}, name),
      element('td', {}, element('code', {}, url)),
      element('td', {}, hasAuthorization ? 'Set' : 'None'),
      element('td', {}, deliveryText(lastDelivery)),
      element(
        'td',
        {},
        element(
          'span',
          { class: 'row' },
          element(
            'button',
            {
              type: 'button',
              class: 'small-button',
              'data-testid': `test-${id}`,
              onclick: () => act(`${base}/${id}/test`, { method: 'POST' }),
            },
            'Send test event',
          ),
          element(
            'button',
            {
              type: 'button',
              class: 'small-button',
              onclick: () => act(`${base}/${id}`, { method: 'DELETE' }),
            },
            'Remove',
          ),
        ),
      ),
    ),
  );
  const headings = ['Name', 'URL', 'Authorization', 'Last delivery', 'Actions'];
  const head = element('tr', {}, ...headings.map((text) => element('th', { scope: 'col' }, text)));
  return element(
    'div',
    { class: 'table-scroll', tabindex: 0, role: 'region', 'aria-label': `Webhooks of ${project.name}` },
    element('table', { class: 'stacked' }, element('thead', {}, head), element('tbody', {}, ...rows)),
  );
}

function deliveryText(delivery) {
  if (!delivery) return 'None yet';
  return `${delivery.type} · ${delivery.status ?? 'no response'} · ${dateAndTime(delivery.atMs)}`;
}

function webhookForm(base) {
  const url = element('input', { name: 'url', type: 'url', required: true, autocomplete: 'off' });
  const authorization = element('input', { name: 'authorization', autocomplete: 'off' });
  const submit = (event) => {
    event.preventDefault();
    act(base, { method: 'POST', body: { url: url.value, authorization: authorization.value } });
  };
  return element(
    'form',
    { class: 'add-webhook', onsubmit: submit },
    element('label', {}, 'Webhook URL', url),
    element('label', {}, 'Authorization header', authorization),
    element('button', { class: 'button button-secondary' }, 'Add webhook'),
  );
}

async function refresh() {
  const projects = await callPlatform('/revenuecat/projects');
  const text = JSON.stringify(projects);
  // Redrawing would clear a form in use.
  if (text === shown) return;
  shown = text;
  projects.sort((a, b) => Number(b.id === OWN_PROJECT) - Number(a.id === OWN_PROJECT));
  const focus = document.activeElement?.dataset?.testid;
  main.replaceChildren(...projects.map(drawProject));
  if (focus) main.querySelector(`[data-testid="${focus}"]`)?.focus();
}

async function poll() {
  const isTyping = document.activeElement?.matches('input') && document.activeElement.value !== '';
  if (!document.hidden && !isTyping) await refresh().catch((error) => notify(error.message, true));
  setTimeout(poll, POLL_MS);
}

poll();
