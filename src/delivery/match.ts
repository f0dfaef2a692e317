import { AppError } from '../errors.ts';
import type { IntercomClient, IntercomContact } from '../intercom/client.ts';
import { isAnonymous, preferredAppUserIds } from '../subscribers/identities.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';

/** A subscriber with dozens of anonymous aliases must not cost dozens of calls. */
const MOST_LOOKUPS = 10;

/**
 * Finds the contact of a subscriber: by a saved link, by `external_id` equal to any app user id (identified
 * ones first), then, where the workspace wants it, by exact e-mail, if just one contact has it.
 *
 * @returns the contact's id; `null`: there is none
 */
export async function findContact(
  client: IntercomClient,
  input: {
    linkedContactIds: readonly string[];
    appUserIds: readonly string[];
    email: string | null;
    settings: WorkspaceSettings;
  },
): Promise<string | null> {
  for (const contactId of input.linkedContactIds) {
    const linked = await existing(() => client.getContact(contactId));
    if (linked && linked.archived !== true) return linked.id;
  }
  for (const appUserId of preferredAppUserIds(input.appUserIds).slice(0, MOST_LOOKUPS)) {
    const found = await client.findByExternalId(appUserId);
    if (found) return found.id;
  }
  if (input.settings.contacts.matchByEmail && input.email) {
    const found = (await client.searchByEmail(input.email)).filter((contact) => contact.archived !== true);
    // Several contacts can share an e-mail; choosing one would be a guess.
    if (found.length === 1 && found[0]) return found[0].id;
  }
  return null;
}

async function existing(read: () => Promise<IntercomContact>): Promise<IntercomContact | null> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind === 'follow_contact') return { ...EMPTY, id: error.remedy.contactId };
    if (error.code === 'intercom_not_found' || error.code === 'intercom_contact_merged') return null;
    throw error;
  }
}

const EMPTY: IntercomContact = { id: '', external_id: null, role: null, email: null, custom_attributes: {} };

/** The app user id under which a contact may be made; `null`: the workspace does not want one. */
export function idToCreate(appUserIds: readonly string[], settings: WorkspaceSettings): string | null {
  if (settings.contacts.create === 'never') return null;
  const [best] = preferredAppUserIds(appUserIds);
  if (best === undefined) return null;
  return isAnonymous(best) && settings.contacts.create !== 'all' ? null : best;
}

/**
 * Makes a contact for an app user id. When one exists after all, Intercom answers 409 and names its id in the
 * message; an archived one is brought back.
 *
 * @throws AppError when Intercom refuses and names nobody
 */
export async function createContact(
  client: IntercomClient,
  contact: { appUserId: string; email: string | null },
): Promise<string> {
  try {
    const body = {
      role: 'user',
      external_id: contact.appUserId,
      ...(contact.email ? { email: contact.email } : {}),
    };
    return (await client.createContact(body)).id;
  } catch (error) {
    if (!(error instanceof AppError) || error.upstreamStatus !== 409) throw error;
    const id = /\bid=(\w+)/.exec(error.message)?.[1];
    if (!id) throw error;
    if (/archived/i.test(error.message)) await client.unarchiveContact(id);
    return id;
  }
}
