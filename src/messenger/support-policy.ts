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
    'script-src': ["'self'", ...https('app.intercom.io widget.intercom.io js.intercomcdn.com')],
    // The Messenger styles its own elements.
    'style-src': ["'self'", "'unsafe-inline'"],
    'connect-src': [...ownUrls, ...CONNECT],
    'img-src': ["'self'", 'blob:', 'data:', ...IMAGES],
    'font-src': https('js.intercomcdn.com fonts.intercomcdn.com'),
    'media-src': ['blob:', ...https('js.intercomcdn.com'), ...regional('https://downloads.', 'intercomcdn')],
    'frame-src': FRAMES,
    'child-src': ['blob:', ...FRAMES],
    'worker-src': ['blob:'],
    'form-action': [...https('intercom.help'), ...IAM],
    'frame-ancestors': ["'none'"],
    'base-uri': ["'none'"],
  };
  return Object.entries(directives)
    .map(([name, sources]) => `${name} ${sources.join(' ')}`)
    .join('; ');
}

function https(hosts: string): string[] {
  return hosts.split(' ').map((host) => `https://${host}`);
}

/** Intercom writes Europe as another top-level domain and Australia as a label. */
function regional(start: string, domain: string): string[] {
  return [`${start}${domain}.com`, `${start}${domain}.eu`, `${start}au.${domain}.com`];
}

const IAM = https('api-iam.intercom.io api-iam.eu.intercom.io api-iam.au.intercom.io');
const NEXUS = ['websocket-a', 'websocket-b', 'europe-websocket', 'australia-websocket'];
const USER_CONTENT = 'https://uploads.intercomusercontent.com';

const CONNECT = [
  ...https('via.intercom.io api.intercom.io api.eu.intercom.io api.au.intercom.io'),
  ...IAM,
  ...https('api-ping.intercom.io'),
  ...NEXUS.flatMap((name) => [`https://nexus-${name}.intercom.io`, `wss://nexus-${name}.intercom.io`]),
  'https://*.intercom-messenger.com',
  'wss://*.intercom-messenger.com',
  ...regional('https://uploads.', 'intercomcdn'),
  'https://uploads.eu.intercomcdn.com',
  USER_CONTENT,
];

const IMAGES = [
  ...https('js.intercomcdn.com gifs.intercomcdn.com video-messages.intercomcdn.com'),
  ...regional('https://static.', 'intercomassets'),
  ...regional('https://downloads.', 'intercomcdn'),
  USER_CONTENT,
  ...https('messenger-apps.intercom.io messenger-apps.eu.intercom.io messenger-apps.au.intercom.io'),
  ...regional('https://*.', 'intercom-attachments'),
  ...Array.from({ length: 9 }, (_, index) => `https://*.intercom-attachments-${index + 1}.com`),
];

const FRAMES = https(
  'intercom-sheets.com www.intercom-reporting.com www.youtube.com player.vimeo.com fast.wistia.net',
);
