import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, it } from 'node:test';
import { z } from 'zod';
import { INTERCOM_VERSION } from '../src/intercom/client.ts';
import { HANDLED_TOPICS } from '../src/intercom/webhooks.ts';

const httpsUrl = z.url({ protocol: /^https$/ });

/** Limits of the Developer Hub. Source: Intercom, "Listing your app" and "Permissions". */
const manifestSchema = z.strictObject({
  manifest_version: z.literal(1),
  basic_information: z.strictObject({
    name: z.string().max(40),
    description: z.string().min(1),
    icon: z.strictObject({ size: z.literal('512x512'), format: z.literal('png') }),
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
      initialize_url: httpsUrl,
      submit_url: httpsUrl,
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
    built_by: z.string().min(1),
    short_description: z
      .string()
      .max(70)
      .regex(/^[A-Z]/, 'is in sentence case')
      .regex(/[^.]$/, 'has no full stop'),
    long_description: z.string().min(200),
    categories: z.array(z.string()).min(1),
    links: z.strictObject({ support: httpsUrl, privacy_policy: httpsUrl, terms_of_service: httpsUrl }),
  }),
});

type Manifest = z.infer<typeof manifestSchema>;

const FORCED = ['Read and list users and companies', 'Read conversations', 'Read admins', 'Gather App data'];

/** A topic needs one of these permissions. Source: Intercom, "Webhook topics". */
function permissionsOf(topic: string): string[] {
  if (topic.startsWith('contact.')) return ['Read and list users and companies'];
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

it('names the addresses that the server answers', () => {
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
  assert.equal(hosts.size, 1, 'one deployment');
});
