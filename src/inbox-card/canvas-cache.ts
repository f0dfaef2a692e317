import { LRUCache } from 'lru-cache';
import type { ViewContext } from '../grants/context.ts';
import type { InboxCanvas } from '../intercom/canvas.ts';
import type { Names } from '../subscription/names.ts';
import { isCurrentSummary } from '../subscription/summary.ts';
import { expiresAfter, MINUTE_MS } from '../time.ts';
import type { Candidate } from './card-repository.ts';
import type { CardRequest } from './request.ts';

/** Canvases are about 3 KB each. */
const MAX_CANVASES = 4_000;
/** A safety net: a card changes with time alone only when its summary expires. */
const MAX_AGE_MS = MINUTE_MS;

/** What a first canvas shows besides its customer. */
interface Shown extends Pick<ViewContext, 'workspace' | 'messages'> {
  readonly request: CardRequest;
  readonly candidates: readonly Candidate[];
}

export type CanvasCache = ReturnType<typeof createCanvasCache>;

/**
 * Caches first canvases as the JSON of the response, keyed by everything that they show. Cards are opened very often
 * (at every switch of conversation, five at a time for a group), and drawing takes most of the time. What a card shows
 * is read from the database each time, so that no canvas is out of date.
 */
export function createCanvasCache(now: () => number) {
  const expires = expiresAfter(MAX_AGE_MS, now);
  const cache = new LRUCache<string, { names: Names; json: string }>({ max: MAX_CANVASES, ...expires });
  return async (
    shown: Shown,
    candidate: Candidate,
    { names, draw }: { readonly names: Names; draw(): Promise<InboxCanvas> },
  ): Promise<string> => {
    const key = keyOf(shown, candidate);
    const cached = cache.get(key);
    if (cached?.names === names) return cached.json;
    const json = JSON.stringify({ canvas: await draw() });
    const nowMs = now();
    // Not cached: customers with actions, which are separate rows, or without a stored summary, who need the history.
    if (!candidate.hasActions && isCurrentSummary(candidate.summary, candidate.version, nowMs)) {
      const ttl = Math.min(candidate.summary.validUntilMs - nowMs, MAX_AGE_MS);
      cache.set(key, { names, json }, { ttl });
    }
    return json;
  };
}

/** Everything that a first canvas shows besides the summary, which the subscriber's version identifies. */
function keyOf({ workspace, candidates, request, messages }: Shown, candidate: Candidate): string {
  const { externalId, isLead } = request.contact;
  const { project, ...subscriber } = candidate;
  return JSON.stringify([
    workspace.workspaceId,
    workspace.timezone,
    workspace.status,
    messages.language,
    externalId,
    isLead,
    candidates.length,
    subscriber,
    [project.projectId, project.name, project.apiKeyState, project.apiKey !== null],
  ]);
}
