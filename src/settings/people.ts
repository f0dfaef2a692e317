import { z } from 'zod';
import { displayName } from '../workspaces/repository.ts';
import { listTeam } from '../workspaces/team.ts';
import { listField, type PageRequest, textField } from './page.ts';

export interface Person {
  readonly id: string;
  readonly name: string;
}

/** Rules store only IDs, so a teammate who left the team has no name. */
export function peopleOf(ids: readonly string[] | null): Person[] {
  return (ids ?? []).map((id) => ({ id, name: `Teammate ${id}` }));
}

type People = Awaited<ReturnType<typeof loadPeople>>;

/**
 * The team, the signed-in admin, and everyone who was selected before, even if they have left.
 *
 * @param ticked IDs that a form has sent; accepted unchecked while Intercom does not answer
 */
export async function loadPeople(
  request: PageRequest,
  selected: readonly Person[],
  ticked: readonly string[] = [],
) {
  const team = await listTeam(request.app, request.workspace);
  const { admin } = request.session;
  const unchecked = team === null ? [...peopleOf(ticked), ...selected] : selected;
  const all = new Map<string, Person>(unchecked.map((person) => [person.id, person]));
  all.set(admin.id, { id: admin.id, name: displayName(admin) });
  for (const each of team ?? []) all.set(each.id, { id: each.id, name: displayName(each) });
  return {
    all: [...all.values()].map((person) => ({
      ...person,
      isSelf: person.id === admin.id,
      hasLeft: team !== null && !team.some(({ id }) => id === person.id) && person.id !== admin.id,
    })),
    /** Whether Intercom did not answer. */
    unknown: team === null,
  };
}

export const peopleFields = {
  who: textField.pipe(z.enum(['everyone', 'selected'], 'Choose who.')),
  people: listField,
};

/**
 * @returns the selected people (`null`: everyone), or the problem. An empty selection never means everyone, and people
 *   outside the team are ignored.
 */
export function choosePeople(
  { who, people: ids }: { who: 'everyone' | 'selected'; people: readonly string[] },
  people: People,
): { selected: Person[] | null } | { problem: string } {
  if (who === 'everyone') return { selected: null };
  const selected = people.all.filter(({ id }) => ids.includes(id)).map(({ id, name }) => ({ id, name }));
  if (selected.length > 0) return { selected };
  return {
    problem:
      ids.length === 0
        ? 'Nothing was saved. Select at least one teammate, or choose Everyone.'
        : 'Nothing was saved: none of the selected people is in your team. Choose again.',
  };
}
