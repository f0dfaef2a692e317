import { randomUUID } from 'node:crypto';
import type { Request, Response, Router } from 'express';
import { notFound } from '../errors.ts';
import {
  API_KEY_KINDS,
  type ApiKeyKind,
  hasMessengerSecret,
  insertApiKey,
  listApiKeys,
  newApiKey,
  revokeApiKey,
  setMessengerSecret,
} from '../messenger/api-keys.ts';
import { snippets } from '../messenger/snippets.ts';
import { secretLocation } from '../workspaces/secrets.ts';
import { auditChange } from './audit.ts';
import { field, type SettingsContext, type Visit, visitOf } from './context.ts';
import { sendPage } from './render.ts';

const MAX_NAME_LENGTH = 80;
const MIN_SECRET_LENGTH = 16;
const MAX_SECRET_LENGTH = 512;

const KIND_LABELS: Readonly<Record<ApiKeyKind, string>> = {
  messenger: 'Messenger: identity tokens and support links',
  fin: 'Fin data connector',
};

interface Extras {
  readonly errors?: readonly string[];
  /** Shown in this answer and never again. */
  readonly made?: { readonly key: string; readonly name: string; readonly kind: ApiKeyKind };
  readonly typedName?: string;
}

/** The page where the customer's own app gets its keys, its secret and its code. */
export function addMessengerPages(router: Router, context: SettingsContext): void {
  const { database, secrets, config } = context;

  async function show(req: Request, res: Response, visit: Visit, extras: Extras = {}): Promise<void> {
    const { workspaceId, region } = visit.workspace;
    const [keys, hasSecret] = await Promise.all([
      listApiKeys(database, workspaceId),
      hasMessengerSecret(database, workspaceId),
    ]);
    sendPage(req, res, {
      view: 'messenger',
      title: 'Messenger',
      section: 'messenger',
      visit,
      errors: extras.errors ?? [],
      data: {
        keys: keys.map((key) => ({ ...key, kindLabel: KIND_LABELS[key.kind] })),
        kinds: API_KEY_KINDS.map((kind) => ({ kind, label: KIND_LABELS[kind] })),
        hasSecret,
        made: extras.made ? { ...extras.made, kindLabel: KIND_LABELS[extras.made.kind] } : null,
        typedName: extras.typedName ?? '',
        snippets: snippets({ publicUrl: config.publicUrl, workspaceId, region }),
        finUrl: `${config.publicUrl}/api/fin/subscription`,
      },
    });
  }

  router.get('/messenger', async (req, res) => {
    await show(req, res, await visitOf(context, res));
  });

  router.post('/messenger/secret', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId } = visit.workspace;
    const secret = field(req, 'messenger_secret');
    if (secret.length < MIN_SECRET_LENGTH || secret.length > MAX_SECRET_LENGTH || /\s/.test(secret)) {
      const error =
        secret === ''
          ? 'Paste the Messenger secret first. Nothing was changed.'
          : 'That is no Messenger secret: it is one long text without spaces. Nothing was changed.';
      return show(req, res, visit, { errors: [error] });
    }
    const sealed = secrets.encrypt(secret, secretLocation.messengerSecret(workspaceId));
    await setMessengerSecret(database, workspaceId, sealed);
    await auditChange(context, visit, 'messenger_secret_set', {});
    res.redirect(303, '/settings/messenger?done=messenger_secret_saved');
  });

  router.post('/messenger/secret/remove', async (_req, res) => {
    const visit = await visitOf(context, res);
    await setMessengerSecret(database, visit.workspace.workspaceId, null);
    await auditChange(context, visit, 'messenger_secret_removed', {});
    res.redirect(303, '/settings/messenger?done=messenger_secret_removed');
  });

  router.post('/messenger/keys', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId } = visit.workspace;
    const name = field(req, 'name');
    const kind = API_KEY_KINDS.find((each) => each === field(req, 'kind'));
    if (name === '' || name.length > MAX_NAME_LENGTH || !kind) {
      const error =
        name === ''
          ? 'Give the key a name, so that you know later which one to revoke.'
          : 'Choose what the key is for, and give it a name of at most 80 characters.';
      return show(req, res, visit, { errors: [error], typedName: name.slice(0, MAX_NAME_LENGTH) });
    }
    const { key, hash, prefix } = newApiKey(kind, workspaceId);
    const createdBy = visit.session.admin;
    await insertApiKey(database, { workspaceId, keyId: randomUUID(), hash, kind, name, prefix, createdBy });
    await auditChange(context, visit, 'api_key_made', { name, kind, prefix });
    // The answer itself shows the key, so it is in no address or history.
    await show(req, res, visit, { made: { key, name, kind } });
  });

  router.post('/messenger/keys/revoke', async (req, res) => {
    const visit = await visitOf(context, res);
    const keyId = field(req, 'key');
    const isId = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(keyId);
    const name = isId ? await revokeApiKey(database, visit.workspace.workspaceId, keyId) : null;
    if (name === null) throw notFound('This workspace has no such key in use');
    await auditChange(context, visit, 'api_key_revoked', { name });
    res.redirect(303, '/settings/messenger?done=api_key_revoked');
  });
}
