import type { Request, Response, Router } from 'express';
import { AppError } from '../errors.ts';
import { provisionAttributes } from '../intercom/data-attributes.ts';
import { CONTACT_ATTRIBUTES } from '../subscription/attributes.ts';
import { intercomClientFor } from '../workspaces/clients.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { markAttributesReady, retryWaiting } from '../workspaces/store.ts';
import { auditChange, changeSettings } from './audit.ts';
import { field, pageSql, type SettingsContext, type Visit, visitOf } from './context.ts';
import { sendPage } from './render.ts';
import { readMatching } from './store.ts';

const CREATION_CHOICES = ['never', 'identified', 'all'] as const;

/** Creating contacts is recommended once this many customers have been seen and this share of them matched. */
const ENOUGH_SEEN = 20;
const GOOD_SHARE = 0.6;

export function addContactPages(router: Router, context: SettingsContext): void {
  const { database } = context;

  async function show(
    req: Request,
    res: Response,
    visit: Visit,
    contacts: WorkspaceSettings['contacts'],
    errors: readonly string[] = [],
  ): Promise<void> {
    const { workspace } = visit;
    const matching = await readMatching(await pageSql(context), workspace.workspaceId);
    const seen = matching.matched + matching.waiting;
    sendPage(req, res, {
      view: 'contacts',
      title: 'Contacts',
      section: 'contacts',
      visit,
      errors,
      data: {
        create: contacts.create,
        matchByEmail: contacts.matchByEmail,
        matching,
        recommend: seen >= ENOUGH_SEEN && matching.matched / seen >= GOOD_SHARE,
        share: seen === 0 ? 0 : matching.matched / seen,
        attributes: CONTACT_ATTRIBUTES,
        attributesReady: workspace.attributesReady,
      },
    });
  }

  router.get('/contacts', async (req, res) => {
    const visit = await visitOf(context, res);
    await show(req, res, visit, visit.workspace.settings.contacts);
  });

  router.post('/contacts', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId, settings } = visit.workspace;
    const wanted = field(req, 'create') || settings.contacts.create;
    const create = CREATION_CHOICES.find((choice) => choice === wanted);
    const contacts = {
      create: create ?? settings.contacts.create,
      matchByEmail: field(req, 'match_by_email') === 'on',
    };
    if (create === undefined) {
      return show(req, res, visit, contacts, [
        'Nothing was saved. Choose what happens when a customer has no contact.',
      ]);
    }
    await changeSettings(context, visit, 'contacts', contacts, 'contacts_changed');
    await retryWaiting(database, workspaceId);
    res.redirect(303, '/settings/contacts?done=contacts_saved');
  });

  router.post('/contacts/attributes', async (_req, res) => {
    const visit = await visitOf(context, res);
    const { workspace } = visit;
    let done = 'intercom_away';
    const client = intercomClientFor(context, workspace);
    if (client) {
      try {
        const { created, failed } = await provisionAttributes(client);
        await auditChange(context, visit, 'attributes_made', { created });
        await markAttributesReady(database, workspace.workspaceId, failed.length === 0);
        done = failed.length === 0 ? 'attributes_made' : 'attributes_missing';
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        context.logger.warn({ code: error.code, workspaceId: workspace.workspaceId }, 'attributes not made');
      }
    }
    res.redirect(303, `/settings/contacts?done=${done}`);
  });
}
