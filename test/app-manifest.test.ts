import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, it } from 'node:test';
import { z } from 'zod';
import { HANDLED_TOPICS } from '../src/contacts/webhooks.ts';
import { INTERCOM_VERSION } from '../src/intercom/client.ts';
import { DEFAULT_SCOPES, type IntercomScope } from '../src/simulator/intercom/state.ts';
import { createProduct } from './support/product.ts';

const httpsUrl = z.url({ protocol: /^https$/ });

/** Limits of the Developer Hub. Source: Intercom, "Listing your app" and "Permissions". */
const manifestSchema = z.strictObject({
  manifest_version: z.literal(1),
  basic_information: z.strictObject({
    name: z.string().max(40),
    description: z.string().min(1),
    icon: z.strictObject({ size: z.literal('512x512'), format: z.literal('png'), file: z.string() }),
    // Development workspaces are only in the US.
    development_workspace: z.strictObject({ region: z.literal('US') }),
  }),
  api_version: z.string(),
  authentication: z.strictObject({
    use_oauth: z.literal(true),
    redirect_urls: z.array(httpsUrl).min(1),
    permissions: z.array(
      z.strictObject({
        name: z.string(),
        forced_by_canvas_kit: z.boolean(),
        reason: z.string().min(20),
      }),
    ),
  }),
  webhooks: z.strictObject({ endpoint_url: httpsUrl, topics: z.array(z.string()).min(1) }),
  canvas_kit: z.strictObject({
    for_teammates: z.strictObject({
      enabled: z.literal(true),
      add_to_conversation_details: z.literal(true),
      initialize_url: httpsUrl,
      submit_url: httpsUrl,
    }),
    for_users_leads_and_visitors: z.strictObject({
      status: z.enum(['planned', 'on']),
      locations: z.array(z.enum(['home', 'conversation', 'message', 'workflow'])),
      // Intercom calls neither URL: there is nothing to configure, and no sheet is opened.
      configure_url: z.null(),
      initialize_url: httpsUrl,
      submit_url: httpsUrl,
      sheets_url: z.null(),
    }),
  }),
  installation_status: z.strictObject({
    // The only method that an app with a Canvas Kit capability may use.
    method: z.literal('directly_from_the_app_store'),
    direct_installation_url: httpsUrl,
    uninstall_notification_url: httpsUrl,
    health_check_url: httpsUrl,
  }),
  listing: z.strictObject({
    name: z
      .string()
      .max(40)
      .refine((name) => !/intercom/i.test(name), 'must not contain "Intercom"'),
    built_by: z
      .string()
      .min(1)
      .refine((name) => !/authors|todo|example/i.test(name), 'is a company or product'),
    short_description: z
      .string()
      .max(70)
      .regex(/^[A-Z]/, 'is in sentence case')
      .regex(/[^.]$/, 'has no full stop'),
    long_description: z.string().min(200),
    categories: z.array(z.string()).min(1),
    images: z.array(z.strictObject({ caption: z.string().min(1).max(90), file: z.string().min(1) })).min(3),
    links: z.strictObject({ support: httpsUrl, privacy_policy: httpsUrl, terms_of_service: httpsUrl }),
  }),
  start_guide: z.strictObject({
    steps: z
      .array(z.strictObject({ title: z.string().min(1), text: z.string().min(1), url: httpsUrl.nullable() }))
      .min(3),
  }),
  app_partner_program: z.strictObject({
    company: z.string().min(1),
    use_cases: z.array(z.string().min(1)).min(1),
    contacts: z.strictObject({ technical: httpsUrl, business: httpsUrl }),
  }),
  review: z.strictObject({
    app_description: z.string().min(200),
    test_credentials: z.array(z.string().min(1)).min(2),
    video_shows: z.array(z.string().min(1)).min(1),
  }),
});

type Manifest = z.infer<typeof manifestSchema>;

const FORCED = ['Read and list users and companies', 'Read conversations', 'Read admins', 'Gather App data'];

/** A topic needs one of these permissions. Source: Intercom, "Webhook topics". */
function permissionsOf(topic: string): string[] {
  if (topic.startsWith('contact.') || topic.startsWith('visitor.'))
    return ['Read and list users and companies'];
  if (topic.startsWith('conversation.')) return ['Read conversations'];
  return [];
}

let manifest: Manifest;
before(async () => {
  const text = await readFile(new URL('../app-manifest.json', import.meta.url), 'utf8');
  manifest = manifestSchema.parse(JSON.parse(text));
});

it('keeps to the limits of the Developer Hub', () => {
  assert.equal(manifest.listing.name, manifest.basic_information.name);
  assert.equal(manifest.api_version, INTERCOM_VERSION);
});

it('asks for the forced permissions and for no more than it can explain', () => {
  const { permissions } = manifest.authentication;
  const names = permissions.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.deepEqual(
    permissions.filter((permission) => permission.forced_by_canvas_kit).map(({ name }) => name),
    FORCED,
  );
  assert.deepEqual(names.slice(FORCED.length).sort(), [
    'Write conversations',
    'Write data attributes',
    'Write events',
    'Write users and companies',
  ]);
});

/** Intercom's permissions by their scope. Source: Intercom, "OAuth scopes". */
const PERMISSION_OF: Readonly<Partial<Record<IntercomScope, string>>> = {
  read_users: 'Read and list users and companies',
  read_conversations: 'Read conversations',
  read_admins: 'Read admins',
  gather_app_data: 'Gather App data',
  write_users: 'Write users and companies',
  write_events: 'Write events',
  write_data_attributes: 'Write data attributes',
  write_conversations: 'Write conversations',
};

it('asks for exactly the scopes with which the whole suite runs against the simulator', () => {
  const names = manifest.authentication.permissions.map(({ name }) => name);
  assert.deepEqual(names.sort(), DEFAULT_SCOPES.map((scope) => PERMISSION_OF[scope]).sort());
});

it('subscribes to just the topics that are handled, each with its permission', () => {
  assert.deepEqual([...manifest.webhooks.topics].sort(), [...HANDLED_TOPICS].sort());
  const names = new Set(manifest.authentication.permissions.map(({ name }) => name));
  for (const topic of manifest.webhooks.topics) {
    assert.ok(
      permissionsOf(topic).some((permission) => names.has(permission)),
      `${topic} needs a permission`,
    );
  }
});

/** Width and height in a PNG's header. */
async function sizeOf(file: string): Promise<[number, number]> {
  const bytes = await readFile(new URL(`../${file}`, import.meta.url));
  assert.equal(bytes.subarray(1, 4).toString(), 'PNG', file);
  return [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
}

it('has the icon and a picture for each image of the listing, in their sizes', async () => {
  assert.deepEqual(await sizeOf(manifest.basic_information.icon.file), [512, 512]);
  const { images } = manifest.listing;
  assert.equal(new Set(images.map(({ file }) => file)).size, images.length);
  for (const { file } of images) assert.deepEqual(await sizeOf(file), [1_600, 1_000], file);
});

it('names the addresses that the server answers', async () => {
  const teammates = manifest.canvas_kit.for_teammates;
  const messenger = manifest.canvas_kit.for_users_leads_and_visitors;
  const status = manifest.installation_status;
  const addresses: Record<string, string | undefined> = {
    '/oauth/callback': manifest.authentication.redirect_urls[0],
    '/webhooks/intercom': manifest.webhooks.endpoint_url,
    '/canvas/inbox/initialize': teammates.initialize_url,
    '/canvas/inbox/submit': teammates.submit_url,
    '/canvas/messenger/initialize': messenger.initialize_url,
    '/canvas/messenger/submit': messenger.submit_url,
    '/install': status.direct_installation_url,
    '/intercom/uninstall': status.uninstall_notification_url,
    '/intercom/health': status.health_check_url,
  };
  const hosts = new Set<string>();
  for (const [path, address] of Object.entries(addresses)) {
    const url = new URL(address ?? '');
    assert.equal(url.pathname, path);
    hosts.add(url.host);
  }
  for (const [name, link] of Object.entries(manifest.listing.links)) {
    hosts.add(new URL(link).host);
    assert.ok(['/help', '/privacy', '/terms'].includes(new URL(link).pathname), name);
  }
  const guided = manifest.start_guide.steps.flatMap(({ url }) => (url === null ? [] : [new URL(url)]));
  for (const { host } of guided) hosts.add(host);
  assert.equal(hosts.size, 1, 'one deployment');

  const product = await createProduct({ bare: true });
  try {
    const OPENED_IN_A_BROWSER = ['/install', '/oauth/callback', ...guided.map(({ pathname }) => pathname)];
    for (const path of [...Object.keys(addresses), ...guided.map(({ pathname }) => pathname)]) {
      const isOpened = OPENED_IN_A_BROWSER.includes(path);
      const answer = await fetch(new URL(path, product.server.url), {
        method: isOpened ? 'GET' : 'POST',
        redirect: 'manual',
        headers: isOpened ? { accept: 'text/html' } : { 'content-type': 'application/json' },
        ...(isOpened ? {} : { body: '{"app_id":"nobody"}' }),
      });
      // A page redirects. Routes that Intercom signs refuse an unsigned request; the uninstall notice is not signed.
      const expected = isOpened ? 302 : path === '/intercom/uninstall' ? 200 : 401;
      assert.equal(answer.status, expected, path);
    }
    for (const path of [
      '/',
      ...Object.values(manifest.listing.links).map((link) => new URL(link).pathname),
    ]) {
      const page = await fetch(new URL(path, product.server.url), { headers: { accept: 'text/html' } });
      assert.equal(page.status, 200, `${path} opens without signing in`);
      assert.match(await page.text(), /<h1>/);
    }
    const icon = await fetch(new URL('/assets/icon.png', product.server.url));
    assert.equal(icon.headers.get('content-type'), 'image/png');
    const validation = await fetch(new URL('/webhooks/intercom', product.server.url), { method: 'HEAD' });
    assert.equal(validation.status, 200, 'Intercom asks with HEAD when the address is saved');
  } finally {
    await product.close();
  }
});
