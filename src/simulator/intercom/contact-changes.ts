import { legacyUserView, webhookContactView } from './contact-view.ts';
import { type Context, invalid, refusal } from './refusals.ts';
import { type Contact, indexKey, insertContact, seconds } from './state.ts';

export type NewContact = Partial<Omit<Contact, 'workspaceId' | 'createdAtMs'>>;

export type ContactChanges = ReturnType<typeof createContactChanges>;

/** Changes of contacts. Each sends its webhook, whose item has only the fields that were recorded. */
export function createContactChanges(context: Omit<Context, 'notifyUninstall'>) {
  const { state, now } = context;
  const emit = (topic: string, contact: Contact): void =>
    context.emit(topic, contact.workspaceId, webhookContactView(contact));
  const find = (id: string): Contact => {
    const contact = state.contacts.get(id);
    if (!contact) throw refusal(404, 'not_found', 'User Not Found');
    return contact;
  };
  const unindex = (contact: Contact): void => {
    if (contact.externalId === null) return;
    const key = indexKey(contact.workspaceId, contact.externalId);
    if (state.externalIds.get(key) === contact) state.externalIds.delete(key);
  };

  return {
    create(workspaceId: string, fields: NewContact): Contact {
      const contact = insertContact(state, now(), workspaceId, fields);
      emit(`contact.${contact.role}.created`, contact);
      return contact;
    },
    /** A visitor becomes a user: one webhook, with the legacy user model. */
    visitorSignUp(workspaceId: string, fields: NewContact & { externalId: string }): Contact {
      const contact = insertContact(state, now(), workspaceId, { ...fields, signedUpAtS: seconds(now()) });
      // UNVERIFIED whether `contact.user.created` is sent as well.
      context.emit('visitor.signed_up', workspaceId, legacyUserView(contact));
      return contact;
    },
    /** Sends the webhook of an e-mail that was already written to the contact. */
    emailChanged(contact: Contact): void {
      contact.updatedAtMs = now();
      emit(contact.role === 'lead' ? 'contact.lead.added_email' : 'contact.email.updated', contact);
    },
    /** A lead becomes a user. */
    signUp(contactId: string, externalId: string): Contact {
      const contact = find(contactId);
      if (contact.role !== 'lead') throw invalid('Only a lead can sign up');
      const key = indexKey(contact.workspaceId, externalId);
      if (state.externalIds.has(key)) {
        throw refusal(
          409,
          'conflict',
          `A contact matching those details already exists with id=${state.externalIds.get(key)?.id}`,
        );
      }
      unindex(contact);
      contact.role = 'user';
      contact.externalId = externalId;
      contact.signedUpAtS = seconds(now());
      contact.updatedAtMs = now();
      state.externalIds.set(key, contact);
      emit('contact.lead.signed_up', contact);
      return contact;
    },
    merge(fromId: string, intoId: string): Contact {
      const from = find(fromId);
      const into = find(intoId);
      from.mergedInto = into.id;
      unindex(from);
      into.email ??= from.email;
      into.name ??= from.name;
      into.customAttributes = { ...from.customAttributes, ...into.customAttributes };
      into.mergeHistory.push({ sourceId: from.id, sourceRole: from.role, atS: seconds(now()) });
      into.updatedAtMs = now();
      for (const conversation of state.conversations.values()) {
        const at = conversation.contactIds.indexOf(from.id);
        if (at >= 0) conversation.contactIds[at] = into.id;
      }
      // The documented `merged_from` is missing in the only recording.
      emit('contact.merged', into);
      return into;
    },
    archive(contactId: string): Contact {
      const contact = find(contactId);
      contact.archived = true;
      context.emit('contact.archived', contact.workspaceId, {
        id: contact.id,
        external_id: contact.externalId,
        type: 'contact',
        archived: true,
      });
      return contact;
    },
    unarchive(contactId: string): Contact {
      const contact = find(contactId);
      contact.archived = false;
      // Intercom lists the topic as `contact.unarchive`, but it was recorded with this name.
      emit('contact.unarchived', contact);
      return contact;
    },
    remove(contactId: string): Contact {
      const contact = find(contactId);
      contact.deleted = true;
      unindex(contact);
      context.emit('contact.deleted', contact.workspaceId, {
        id: contact.id,
        external_id: contact.externalId,
        type: 'contact',
        deleted: true,
      });
      return contact;
    },
  };
}
