import { LRUCache } from 'lru-cache';
import type { InboxCanvas } from '../intercom/canvas.ts';
import type { Names } from '../subscription/names.ts';
import { isUsable } from '../subscription/summary.ts';
import type { Project } from '../workspaces/projects.ts';
import type { CardContext } from './context.ts';
import type { Candidate } from './store.ts';

/** Cards that are remembered, of some 3 KB each; those opened longest ago are forgotten first. */
const MAX_OPENINGS = 4_000;
/** A safety net: nothing that a card says changes by time alone before its summary does. */
const MAX_MS = 60_000;

/** The answer to an initialize request as the JSON that is sent. */
export type Opening = string;

/**
 * First canvases as they were answered, each under everything that it is made of. A card is opened again and again
 * (at every switch of conversation, five at once for a group), and making one takes most of a card's time; what it
 * is made of is read anew each time, so that none is ever out of date.
 */
export interface Openings {
  get(context: CardContext, candidate: Candidate, names: Names): Opening | null;
  /** Keeps it where it can be told from what was read whether it still holds. */
  keep(context: CardContext, candidate: Candidate, names: Names, canvas: InboxCanvas): Opening;
}

export function createOpenings(now: () => number): Openings {
  const kept = new LRUCache<string, { names: Names; untilMs: number; opening: Opening }>({
    max: MAX_OPENINGS,
  });
  return {
    get(context, candidate, names) {
      const known = kept.get(keyOf(context, candidate));
      return known && known.names === names && now() < known.untilMs ? known.opening : null;
    },
    keep(context, candidate, names, canvas) {
      const opening = JSON.stringify({ canvas });
      const nowMs = now();
      // Grants are rows of their own, and without a summary a whole history has been read.
      if (!candidate.hasGrants && isUsable(candidate.kept, candidate.version, nowMs)) {
        const untilMs = Math.min(candidate.kept.validUntilMs, nowMs + MAX_MS);
        kept.set(keyOf(context, candidate), { names, untilMs, opening });
      }
      return opening;
    },
  };
}

/** Everything that a first canvas shows beside the summary that the subscriber's version stands for. */
function keyOf(
  { workspace, projects, candidates, request, language }: CardContext,
  candidate: Candidate,
): string {
  const { contact } = request;
  return JSON.stringify([
    workspace.workspaceId,
    workspace.timezone,
    workspace.status,
    language,
    contact.externalId,
    contact.isLead,
    candidates.length,
    candidate,
    shownOf(projects.find((project) => project.projectId === candidate.projectId)),
  ]);
}

function shownOf(project: Project | undefined): unknown {
  return project && [project.name, project.apiKeyState, project.apiKey !== null];
}
