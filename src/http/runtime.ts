import { setFlagsFromString } from 'node:v8';

/**
 * Keeps V8 from making short-lived objects old. While many requests wait for the database, the small objects of
 * parsing outlive a young collection by chance; V8 takes note of the places that make them and from then on
 * allocates there in the old generation, whose collections are expensive, and it does not come back to it.
 * Measured while receiving webhooks: 119 µs of processor time each with it, 54 µs without.
 */
export function tuneRuntime(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}
