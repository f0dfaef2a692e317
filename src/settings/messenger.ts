import { z } from 'zod';
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
import { isBlank, isUuid } from '../text.ts';
import { secretLocation } from '../workspaces/secrets.ts';
import { audit, changeSettings } from './change-settings.ts';
import { confirmationPage, done, form, type Page, type PageRequest, textField } from './page.ts';

const MAX_NAME_LENGTH = 80;
const MAX_REASON_LENGTH = 500;

const KIND_LABELS: Readonly<Record<ApiKeyKind, string>> = {
  messenger: 'Messenger: tokens and links',
  fin: 'Fin data connector',
};

async function load({ app, workspace, workspaceId }: PageRequest): Promise<object> {
  const { database, config } = app;
  const [keys, hasSecret] = await Promise.all([
    listApiKeys(database, workspaceId),
    hasMessengerSecret(database, workspaceId),
  ]);
  return {
    keys: keys.map((key) => ({ ...key, kindLabel: KIND_LABELS[key.kind] })),
    kinds: API_KEY_KINDS.map((kind) => [kind, KIND_LABELS[kind]]),
    hasSecret,
    made: null,
    identityVerification: workspace.identityVerification,
    unverifiedAccepted: workspace.settings.messenger.unverifiedAccepted,
    snippets: snippets({ publicUrl: config.publicUrl, workspaceId, region: workspace.region }),
    finUrl: `${config.publicUrl}/api/fin/subscription`,
  };
}

const secretForm = form(
  z.object({
    messenger_secret: textField
      .refine((secret) => secret !== '', 'Paste the Messenger secret first. Nothing was changed.')
      .refine(
        (secret) => secret === '' || /^[!-~]{16,512}$/.test(secret),
        'Invalid Messenger secret: it is one long text without spaces or invisible characters. Copy it again. Nothing was changed.',
      ),
  }),
  async (request, { messenger_secret: secret }) => {
    const { app, workspaceId } = request;
    const encrypted = app.secrets.encrypt(secret, secretLocation.messengerSecret(workspaceId));
    await setMessengerSecret(app.database, workspaceId, encrypted);
    await audit(request, 'messenger_secret_set');
    return done('/messenger', 'messenger_secret_saved');
  },
);

const keyForm = form(
  z.object({
    name: textField
      .refine((name) => !isBlank(name), 'Give the key a name, so that you know later which one to revoke.')
      .refine((name) => name.length <= MAX_NAME_LENGTH, `A name has at most ${MAX_NAME_LENGTH} characters.`),
    kind: textField.pipe(z.enum(API_KEY_KINDS, 'Choose what the key is for.')),
  }),
  async (request, { name, kind }) => {
    const { key, stored } = newApiKey(kind, request.workspaceId);
    const createdBy = request.session.admin;
    await insertApiKey(request.app.database, { ...stored, name, createdBy });
    await audit(request, 'api_key_made', { name, kind, prefix: stored.prefix });
    // The response to the form shows the key, so no URL or history has it.
    return {
      kind: 'page',
      view: 'messenger',
      title: 'Messenger and Fin',
      data: { ...(await load(request)), made: { key, name, kindLabel: KIND_LABELS[kind] } },
    };
  },
);

/** Whether subscriptions are shown in a Messenger in which anyone can pose as any user. */
const unverifiedForm = form(
  z
    .object({
      unverified: textField.pipe(
        z.enum(['hide', 'show'], 'Nothing was saved. Choose whether subscriptions are shown.'),
      ),
      unverified_reason: textField.pipe(
        z.string().max(MAX_REASON_LENGTH, `A reason has at most ${MAX_REASON_LENGTH} characters.`),
      ),
    })
    .refine(({ unverified, unverified_reason: reason }) => unverified === 'hide' || !isBlank(reason), {
      path: ['unverified_reason'],
      message: 'Nothing was saved. Write down why this is acceptable.',
    }),
  async (request, { unverified, unverified_reason: reason }) => {
    const { id, name } = request.session.admin;
    const at = new Date(request.app.now()).toISOString();
    const unverifiedAccepted = unverified === 'show' ? { reason, admin: { id, name }, at } : null;
    await changeSettings(request, 'messenger', { unverifiedAccepted });
    return done('/messenger', unverifiedAccepted ? 'unverified_shown' : 'unverified_hidden');
  },
);

export const messengerPage: Page = {
  path: '/messenger',
  title: 'Messenger and Fin',
  load,
  forms: { '/secret': secretForm, '/keys': keyForm, '/unverified': unverifiedForm },
};

export const removeSecretPage = confirmationPage({
  path: '/messenger/secret/remove',
  title: 'Remove the Messenger secret',
  find: async () => null,
  describe: () => ({
    heading: 'Remove the Messenger secret?',
    effects: [
      'Your backend gets no identity tokens any more, so the Messenger does not recognize customers.',
      'The stored secret is deleted. Intercom keeps its own; you can paste it again.',
    ],
    button: 'Remove Messenger secret',
  }),
  async save(request) {
    await setMessengerSecret(request.app.database, request.workspaceId, null);
    await audit(request, 'messenger_secret_removed');
    return done('/messenger', 'messenger_secret_removed');
  },
});

export const revokeKeyPage = confirmationPage({
  path: '/messenger/keys/revoke',
  title: 'Revoke an API key',
  find: keyOf,
  describe: ({ name, kind, keyId }) => ({
    heading: `Revoke the key “${name}”?`,
    effects: [
      kind === 'fin'
        ? 'Fin can no longer answer questions about subscriptions with this key.'
        : 'The key gets no more tokens. Support links and pages that were made with it stop working immediately.',
      'A revoked key cannot be restored. Create a new one instead.',
    ],
    fields: { key: keyId },
    button: `Revoke ${name}`,
  }),
  async save(request, { name, keyId }) {
    if (await revokeApiKey(request.app.database, request.workspaceId, keyId))
      await audit(request, 'api_key_revoked', { name });
    return done('/messenger', 'api_key_revoked');
  },
});

async function keyOf({ app, workspaceId, input }: PageRequest) {
  const keyId = input('key');
  const keys = isUuid(keyId) ? await listApiKeys(app.database, workspaceId) : [];
  const found = keys.find((key) => key.keyId === keyId && key.revokedAt === null);
  if (!found) throw notFound('This workspace has no such key in use');
  return found;
}
