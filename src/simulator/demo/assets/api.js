/** An error that the server answered on purpose, with its message. */
export class ApiError extends Error {}

/**
 * Creates the function with which a page's script calls the server.
 * @param {string} base
 * @returns {(path: string, options?: {method?: string, body?: unknown}) => Promise<any>}
 */
function createApi(base) {
  return async (path, { method = 'GET', body } = {}) => {
    let response;
    try {
      response = await fetch(`${base}${path}`, {
        method,
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new ApiError('The demo does not answer. Is it still running?');
    }
    if (response.status === 204) return null;
    const answer = await response.json().catch(() => null);
    if (!response.ok) throw new ApiError(answer?.error?.message ?? `The demo answered ${response.status}.`);
    return answer;
  };
}

export const callInbox = createApi('/inbox/api');
export const callMessenger = createApi('/messenger/api');
export const callPlatform = createApi('/platforms/api');

/**
 * Shows a message in the page's notice for some seconds.
 * @param {string} message
 */
export function notify(message, isProblem = false) {
  const notice = document.getElementById('notice');
  notice.textContent = message;
  notice.classList.toggle('is-problem', isProblem);
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => {
    notice.textContent = '';
  }, 6000);
}
