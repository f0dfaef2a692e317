const DEADLOCK = '40P01';
const MAX_TRIES = 5;

/**
 * Repeats what PostgreSQL has ended because it and another waited for each other.
 *
 * @param work a whole statement or transaction: all of it was rolled back
 */
export async function againAfterDeadlock<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if ((error as { code?: unknown }).code !== DEADLOCK || tries === MAX_TRIES) throw error;
    }
  }
}
