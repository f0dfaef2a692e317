/**
 * Lets callers that ask for the same thing share a read. One that is asked for while a read runs waits for the
 * next, so that each sees everything that was committed before it asked: nothing is ever out of date.
 */
export function shareReads<T>(read: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const running = new Map<string, Promise<unknown>>();
  const next = new Map<string, Promise<T>>();

  function begin(key: string): Promise<T> {
    const reading = read(key);
    const done = reading
      .catch(() => {})
      .then(() => {
        if (running.get(key) === done) running.delete(key);
      });
    running.set(key, done);
    return reading;
  }

  return (key) => {
    const waiting = next.get(key);
    if (waiting) return waiting;
    const current = running.get(key);
    if (!current) return begin(key);
    const following = current.then(() => {
      next.delete(key);
      return begin(key);
    });
    next.set(key, following);
    return following;
  };
}
