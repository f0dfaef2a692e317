/** An answer that the server gave on purpose, with its message. */
export class ApiError extends Error {}

/**
 * @param {string} path
 * @param {{method?: string, body?: unknown}} [options]
 */
export async function callApi(path, options = {}) {
  let response;
  try {
    response = await fetch(`/inbox/api${path}`, {
      method: options.method ?? 'GET',
      headers: options.body === undefined ? {} : { 'content-type': 'application/json' },
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
    });
  } catch {
    throw new ApiError('The demo does not answer. Is it still running?');
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(answer?.error?.message ?? `The demo answered ${response.status}.`);
  return answer;
}
