import { z } from 'zod';
import { rematchByEmail } from '../contacts/repository.ts';
import { WAKE, wakeSubscribers } from '../database/wake-subscribers.ts';
import { AppError, answerOrError } from '../errors.ts';
import { CONTACT_ATTRIBUTES } from '../subscription/contact-values.ts';
import { provisionWorkspace } from '../workspaces/install.ts';
import { isRefusal } from '../workspaces/refusals.ts';
import { lookUpContacts } from '../workspaces/repository.ts';
import { audit, changeSettings } from './change-settings.ts';
import { action, checkboxField, done, form, type Page, textField } from './page.ts';
import { readMatching } from './repository.ts';

/** Creating contacts is recommended once this many customers have been seen and this share of them matched. */
const MIN_SEEN = 20;
const MIN_MATCHED_SHARE = 0.6;

const contactsForm = form(
  z.object({
    create: textField.pipe(
      z.enum(
        ['never', 'identified', 'all'],
        'Nothing was saved. Choose what happens when a customer has no contact.',
      ),
    ),
    match_by_email: checkboxField,
  }),
  async (request, { create, match_by_email: matchByEmail }) => {
    await changeSettings(request, 'contacts', { create, matchByEmail });
    const { app, workspace, workspaceId } = request;
    if (workspace.settings.contacts.matchByEmail && !matchByEmail)
      await rematchByEmail(app.database, workspaceId);
    await lookUpContacts(app.database, workspaceId);
    return done('/contacts', 'contacts_saved');
  },
);

const attributesForm = action(async (request) => {
  const { app, workspaceId } = request;
  const result = await answerOrError(provisionWorkspace(app, workspaceId));
  // A disconnected workspace has to install again, too.
  if (result === null) return done('/contacts', 'attributes_refused');
  if (result instanceof AppError) {
    const { code, remedy } = result;
    if (code === 'secret_unreadable') throw result;
    app.logger.warn({ code, workspaceId }, 'attributes not created');
    const isRefused = isRefusal(code) || remedy.kind === 'reauthorize';
    return done('/contacts', isRefused ? 'attributes_refused' : 'intercom_unavailable');
  }
  await audit(request, 'attributes_made', { created: result.created });
  // Only the new attributes are written: values that a contact already has are not written again.
  if (result.created.length > 0)
    await wakeSubscribers(app.database, workspaceId, {
      set: WAKE,
      where: 's.attributes_written is not null',
      values: [],
    });
  return done('/contacts', result.failed.length === 0 ? 'attributes_made' : 'attributes_missing');
});

export const contactsPage: Page = {
  path: '/contacts',
  title: 'Contacts',
  async load({ workspace, workspaceId, sql }) {
    const matching = await readMatching(sql, workspaceId);
    const seen = matching.matched + matching.waiting;
    const share = matching.matched / seen;
    return {
      ...workspace.settings.contacts,
      matching,
      isRecommended: seen >= MIN_SEEN && share >= MIN_MATCHED_SHARE,
      share,
      attributes: CONTACT_ATTRIBUTES,
      attributesReady: workspace.attributesReady,
    };
  },
  forms: { '': contactsForm, '/attributes': attributesForm },
};
