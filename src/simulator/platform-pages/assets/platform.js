/** Shared by the pages of the simulated platforms. */

/**
 * @param {string} path
 * @param {{method?: string, body?: unknown}} [options]
 */
export async function callPlatform(path, options = {}) {
  let response;
  try {
    response = await fetch(`/platforms/api${path}`, {
      method: options.method ?? 'GET',
      headers: options.body === undefined ? {} : { 'content-type': 'application/json' },
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
    });
  } catch {
    throw new Error('The demo does not answer. Is it still running?');
  }
  const content = await response.json().catch(() => null);
  if (!response.ok) throw new Error(content?.error?.message ?? `The demo answered ${response.status}.`);
  return content;
}

/**
 * @param {HTMLElement} notice
 * @returns {(message: string, isProblem?: boolean) => void}
 */
export function createNotice(notice) {
  let timer;
  return (message, isProblem = false) => {
    notice.textContent = message;
    notice.classList.toggle('is-problem', isProblem);
    clearTimeout(timer);
    timer = setTimeout(() => {
      notice.textContent = '';
    }, 6000);
  };
}
