import { type Contact, seconds } from './state.ts';

const DEVICE_FIELDS = ['app_name', 'app_version', 'device', 'os_version', 'sdk_version', 'last_seen_at'];

/** The contact model of API 2.16. Source: Intercom API 2.16, "Contacts". */
export function contactView(contact: Contact): Record<string, unknown> {
  const emptyList = (path: string) => ({
    type: 'list',
    data: [],
    url: `/contacts/${contact.id}/${path}`,
    total_count: 0,
    has_more: false,
  });
  return {
    type: 'contact',
    id: contact.id,
    workspace_id: contact.workspaceId,
    external_id: contact.externalId,
    role: contact.role,
    email: contact.email,
    email_domain: contact.email?.split('@')[1] ?? null,
    phone: null,
    name: contact.name,
    avatar: null,
    owner_id: null,
    social_profiles: { type: 'list', data: [] },
    has_hard_bounced: false,
    marked_email_as_spam: false,
    unsubscribed_from_emails: false,
    created_at: seconds(contact.createdAtMs),
    updated_at: seconds(contact.updatedAtMs),
    signed_up_at: contact.signedUpAtS,
    last_seen_at: null,
    last_replied_at: null,
    last_contacted_at: null,
    last_email_opened_at: null,
    last_email_clicked_at: null,
    language_override: null,
    browser: null,
    browser_version: null,
    browser_language: null,
    os: null,
    location: {
      type: 'location',
      country: null,
      region: null,
      city: null,
      country_code: null,
      continent_code: null,
    },
    ...Object.fromEntries(
      ['android', 'ios'].flatMap((os) => DEVICE_FIELDS.map((field) => [`${os}_${field}`, null])),
    ),
    custom_attributes: { ...contact.customAttributes },
    tags: emptyList('tags'),
    notes: emptyList('notes'),
    companies: emptyList('companies'),
    opted_out_subscription_types: emptyList('subscriptions'),
    opted_in_subscription_types: emptyList('subscriptions'),
    utm_campaign: null,
    utm_content: null,
    utm_medium: null,
    utm_source: null,
    utm_term: null,
    referrer: null,
    enabled_push_messaging: null,
  };
}

/** Times in webhooks are ISO strings, as recorded; REST has Unix seconds. */
const iso = (ms: number | null): string | null =>
  ms === null ? null : new Date(ms).toISOString().replace('Z', '+00:00');

/** Only fields that were recorded: unlike REST's, a webhook's contact has no `email_domain`. */
export function webhookContactView(contact: Contact): Record<string, unknown> {
  const { email_domain: _restOnly, ...recorded } = contactView(contact);
  return {
    ...recorded,
    created_at: iso(contact.createdAtMs),
    updated_at: iso(contact.updatedAtMs),
    signed_up_at: iso(contact.signedUpAtS === null ? null : contact.signedUpAtS * 1_000),
    sms_consent: false,
    unsubscribed_from_sms: false,
  };
}

/** The model of the oldest topics, as recorded with `visitor.signed_up`: `user_id` instead of `external_id`. */
export function legacyUserView(contact: Contact): Record<string, unknown> {
  return {
    type: 'user',
    id: contact.id,
    user_id: contact.externalId,
    anonymous: contact.role !== 'user',
    email: contact.email,
    phone: null,
    name: contact.name,
    pseudonym: 'Pink Lightbulb from Dublin',
    avatar: { type: 'avatar', image_url: null },
    app_id: contact.workspaceId,
    companies: { type: 'company.list', companies: [] },
    location_data: {
      type: 'location_data',
      city_name: 'Dublin',
      continent_code: 'EU',
      country_name: 'Ireland',
      postal_code: 'D02',
      region_name: 'Leinster',
      timezone: 'Europe/Dublin',
      country_code: 'IRL',
      latitude: null,
      longitude: null,
    },
    last_request_at: iso(contact.updatedAtMs),
    created_at: iso(contact.createdAtMs),
    remote_created_at: iso(contact.createdAtMs),
    signed_up_at: iso(contact.signedUpAtS === null ? null : contact.signedUpAtS * 1_000),
    // The recording mixes both forms of UTC.
    updated_at: new Date(contact.updatedAtMs).toISOString(),
    session_count: 1,
    social_profiles: { type: 'social_profile.list', social_profiles: [] },
    owner_id: null,
    unsubscribed_from_emails: false,
    marked_email_as_spam: false,
    has_hard_bounced: false,
    tags: { type: 'tag.list', tags: [] },
    segments: { type: 'segment.list', segments: [] },
    custom_attributes: { ...contact.customAttributes },
    referrer: 'https://app.example.com/',
    utm_campaign: null,
    utm_content: null,
    utm_medium: null,
    utm_source: null,
    utm_term: null,
    do_not_track: null,
    last_seen_ip: null,
    user_agent_data: null,
  };
}
