const LATE = Symbol('late');

/**
 * The result of some work, or what stands in for it when it takes longer. The work goes on behind; how it ends then
 * concerns nobody here.
 *
 * @param ms how long to wait
 * @param late called when the time is over; may throw
 */
export async function inTime<T, L>(work: Promise<T>, ms: number, late: () => L): Promise<T | L> {
  const { promise: over, resolve } = Promise.withResolvers<typeof LATE>();
  const timer = setTimeout(() => resolve(LATE), ms);
  try {
    const first = await Promise.race([work, over]);
    return first === LATE ? late() : (first as T);
  } finally {
    clearTimeout(timer);
  }
}
