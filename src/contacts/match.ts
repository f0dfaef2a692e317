import { AppError, answerOrError } from '../errors.ts';
import type { IntercomClient, IntercomContact } from '../intercom/client.ts';
import { isAnonymous, preferredAppUserIds } from '../subscription/app-user-ids.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';

/** A subscriber with dozens of anonymous aliases must not cost dozens of calls; every identified id counts. */
const MAX_ANONYMOUS_LOOKUPS = 10;

/**
 * Finds the contact of a subscriber: by a saved link, by `external_id` equal to any app user id (identified
 * ones first), then, if the workspace has switched that on, by exact e-mail when just one contact has it.
 *
 * @param input.gone contacts that were just found to be deleted or archived
 * @returns `null`: none; `mergedLink`: the linked contact, if it was merged into this one and the link must follow;
 * `survivor`: this contact, if the one with the app user id was merged into it; `isOwn`: it has the app user id itself
 */
export async function findContact(
  client: IntercomClient,
  input: {
    linkedContactIds: readonly string[];
    appUserIds: readonly string[];
    email: string | null;
    settings: WorkspaceSettings;
    gone: ReadonlySet<string>;
  },
): Promise<{ contactId: string; mergedLink?: string; survivor?: IntercomContact; isOwn?: true } | null> {
  const usable = (contact: IntercomContact | null): contact is IntercomContact =>
    contact !== null && contact.archived !== true && !input.gone.has(contact.id);

  for (const contactId of input.linkedContactIds) {
    const linked = await client.followContact(contactId);
    if (!usable(linked)) continue;
    return linked.id === contactId ? { contactId } : { contactId: linked.id, mergedLink: contactId };
  }
  let anonymous = 0;
  for (const appUserId of preferredAppUserIds(input.appUserIds)) {
    if (isAnonymous(appUserId) && ++anonymous > MAX_ANONYMOUS_LOOKUPS) break;
    const found = await client.findByExternalId(appUserId);
    if (!usable(found)) continue;
    return {
      contactId: found.id,
      ...(found.external_id === appUserId ? { isOwn: true } : { survivor: found }),
    };
  }
  if (input.settings.contacts.matchByEmail && input.email) {
    const found = (await client.searchByEmail(input.email)).filter(usable);
    // Several contacts can share an e-mail; choosing one would be a guess.
    if (found.length === 1 && found[0]) return { contactId: found[0].id };
  }
  return null;
}

/** The app user id under which a contact may be created; `null`: the workspace does not want one. */
export function idToCreate(appUserIds: readonly string[], settings: WorkspaceSettings): string | null {
  if (settings.contacts.create === 'never') return null;
  const [best] = preferredAppUserIds(appUserIds);
  if (best === undefined) return null;
  return isAnonymous(best) && settings.contacts.create !== 'all' ? null : best;
}

/**
 * Creates a contact for an app user id. If one exists already (searches lag behind), Intercom answers 409 and names
 * its id in the message; an archived one is unarchived.
 *
 * A contact that only has the same e-mail is a different person: anyone can write `$email` with a public key. The new
 * contact is then created without the e-mail, as it is when Intercom does not accept the e-mail.
 *
 * @returns `null`: Intercom refuses, and the contact that it names does not have the app user id
 */
export async function createContact(
  client: IntercomClient,
  contact: { appUserId: string; email: string | null },
): Promise<string | null> {
  for (const email of contact.email === null ? [null] : [contact.email, null]) {
    const body = { role: 'user', external_id: contact.appUserId, ...(email === null ? {} : { email }) };
    const created = await answerOrError(client.createContact(body));
    if (!(created instanceof AppError)) return created.id;
    if (created.upstreamStatus === 409) {
      const existing = await existingContact(client, created, { ...contact, email });
      if (existing !== null) return existing;
    } else if (email === null || created.code !== 'intercom_rejected') throw created;
  }
  return null;
}

/**
 * Whether an archived contact can be read is UNVERIFIED. If it cannot, it counts as the customer's when only the app
 * user id was sent: nothing else can have conflicted.
 */
async function existingContact(
  client: IntercomClient,
  conflict: AppError,
  sent: { appUserId: string; email: string | null },
): Promise<string | null> {
  const id = /\bid=(\w+)/.exec(conflict.message)?.[1];
  if (!id) return null;
  const isArchived = /archived/i.test(conflict.message);
  const existing = await client.followContact(id);
  const isTheirs =
    existing === null ? isArchived && sent.email === null : existing.external_id === sent.appUserId;
  if (!isTheirs) return null;
  const existingId = existing?.id ?? id;
  if (isArchived) await client.unarchiveContact(existingId);
  return existingId;
}
