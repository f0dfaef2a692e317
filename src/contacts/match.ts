import { AppError } from '../errors.ts';
import type { IntercomClient, IntercomContact } from '../intercom/client.ts';
import { isAnonymous, preferredAppUserIds } from '../subscription/identities.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';

/** A subscriber with dozens of anonymous aliases must not cost dozens of calls. */
const MAX_LOOKUPS = 10;

/**
 * Finds the contact of a subscriber: by a saved link, by `external_id` equal to any app user id (identified
 * ones first), then, where the workspace wants it, by exact e-mail, if just one contact has it.
 *
 * @param input.gone contacts that have just turned out not to take anything
 * @returns the contact's id; `null`: there is none
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
): Promise<string | null> {
  const usable = (contact: IntercomContact | null): contact is IntercomContact =>
    contact !== null && contact.archived !== true && !input.gone.has(contact.id);

  for (const contactId of input.linkedContactIds) {
    const linked = await client.followContact(contactId);
    if (usable(linked)) return linked.id;
  }
  for (const appUserId of preferredAppUserIds(input.appUserIds).slice(0, MAX_LOOKUPS)) {
    const found = await client.findByExternalId(appUserId);
    if (usable(found)) return found.id;
  }
  if (input.settings.contacts.matchByEmail && input.email) {
    const found = (await client.searchByEmail(input.email)).filter(usable);
    // Several contacts can share an e-mail; choosing one would be a guess.
    if (found.length === 1 && found[0]) return found[0].id;
  }
  return null;
}

/** The app user id under which a contact may be made; `null`: the workspace does not want one. */
export function idToCreate(appUserIds: readonly string[], settings: WorkspaceSettings): string | null {
  if (settings.contacts.create === 'never') return null;
  const [best] = preferredAppUserIds(appUserIds);
  if (best === undefined) return null;
  return isAnonymous(best) && settings.contacts.create !== 'all' ? null : best;
}

/**
 * Makes a contact for an app user id. When one exists after all (searches lag behind), Intercom answers 409 and
 * names its id in the message; an archived one is brought back.
 *
 * A contact that only has the same e-mail is somebody else: anybody can write `$email` with a public key. The
 * new contact then gets none, and neither where Intercom does not take the e-mail.
 *
 * @returns `null`: Intercom refuses, and names nobody whom the app user id belongs to
 */
export async function createContact(
  client: IntercomClient,
  contact: { appUserId: string; email: string | null },
): Promise<string | null> {
  for (const email of contact.email === null ? [null] : [contact.email, null]) {
    try {
      const body = { role: 'user', external_id: contact.appUserId, ...(email === null ? {} : { email }) };
      return (await client.createContact(body)).id;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (email !== null && error.code === 'intercom_rejected' && error.upstreamStatus !== 409) continue;
      if (error.upstreamStatus !== 409) throw error;
      const twin = await twinOf(client, error, contact.appUserId, email);
      if (twin !== null) return twin;
    }
  }
  return null;
}

/**
 * Whether an archived contact can be read is UNVERIFIED. One that cannot be is the twin all the same when nothing
 * but the app user id was sent.
 */
async function twinOf(
  client: IntercomClient,
  conflict: AppError,
  appUserId: string,
  email: string | null,
): Promise<string | null> {
  const id = /\bid=(\w+)/.exec(conflict.message)?.[1];
  if (!id) return null;
  const isArchived = /archived/i.test(conflict.message);
  const twin = await client.followContact(id);
  if (twin === null ? !isArchived || email !== null : twin.external_id !== appUserId) return null;
  const twinId = twin?.id ?? id;
  if (isArchived) await client.unarchiveContact(twinId);
  return twinId;
}
