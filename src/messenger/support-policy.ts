/**
 * The content security policy of the support page: our own files, and the hosts that Intercom's Messenger needs in
 * every region. Source: Intercom, "Using Intercom with Content Security Policy". Intercom's script runs in our origin,
 * so it may call only the support page's addresses there, never an admin's settings.
 *
 * @param ownUrls where this server answers the support page, each ending in a slash
 */
export function supportPolicy(ownUrls: readonly string[]): string {
  const directives: Readonly<Record<string, readonly string[]>> = {
    'default-src': ["'none'"],
    'script-src': [
      "'self'",
      'https://app.intercom.io',
      'https://widget.intercom.io',
      'https://js.intercomcdn.com',
    ],
    // The Messenger styles its own elements.
    'style-src': ["'self'", "'unsafe-inline'"],
    'connect-src': [...ownUrls, ...CONNECT],
    'img-src': ["'self'", 'blob:', 'data:', ...IMAGES],
    'font-src': ['https://js.intercomcdn.com', 'https://fonts.intercomcdn.com'],
    'media-src': ['blob:', 'https://js.intercomcdn.com', ...regional('https://downloads.', 'intercomcdn')],
    'frame-src': FRAMES,
    'child-src': ['blob:', ...FRAMES],
    'worker-src': ['blob:'],
    'form-action': ['https://intercom.help', ...IAM],
    'frame-ancestors': ["'none'"],
    'base-uri': ["'none'"],
  };
  return Object.entries(directives)
    .map(([name, sources]) => `${name} ${sources.join(' ')}`)
    .join('; ');
}

/** Intercom writes Europe as another top-level domain and Australia as a label. */
function regional(start: string, domain: string): string[] {
  return [`${start}${domain}.com`, `${start}${domain}.eu`, `${start}au.${domain}.com`];
}

const IAM = ['', '.eu', '.au'].map((region) => `https://api-iam${region}.intercom.io`);
const NEXUS = ['websocket-a', 'websocket-b', 'europe-websocket', 'australia-websocket'];

const CONNECT = [
  'https://via.intercom.io',
  'https://api.intercom.io',
  'https://api.eu.intercom.io',
  'https://api.au.intercom.io',
  ...IAM,
  'https://api-ping.intercom.io',
  ...NEXUS.flatMap((name) => [`https://nexus-${name}.intercom.io`, `wss://nexus-${name}.intercom.io`]),
  'https://*.intercom-messenger.com',
  'wss://*.intercom-messenger.com',
  ...regional('https://uploads.', 'intercomcdn'),
  'https://uploads.eu.intercomcdn.com',
  'https://uploads.intercomusercontent.com',
];

const IMAGES = [
  'https://js.intercomcdn.com',
  ...regional('https://static.', 'intercomassets'),
  ...regional('https://downloads.', 'intercomcdn'),
  'https://uploads.intercomusercontent.com',
  'https://gifs.intercomcdn.com',
  'https://video-messages.intercomcdn.com',
  'https://messenger-apps.intercom.io',
  'https://messenger-apps.eu.intercom.io',
  'https://messenger-apps.au.intercom.io',
  ...regional('https://*.', 'intercom-attachments'),
  ...Array.from({ length: 9 }, (_, index) => `https://*.intercom-attachments-${index + 1}.com`),
];

const FRAMES = [
  'https://intercom-sheets.com',
  'https://www.intercom-reporting.com',
  'https://www.youtube.com',
  'https://player.vimeo.com',
  'https://fast.wistia.net',
];
