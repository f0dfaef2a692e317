/**
 * Our own files, and the hosts that Intercom's Messenger needs in every region. Source: Intercom, "Using Intercom with
 * Content Security Policy". A host without a scheme is HTTPS; an indented line continues the one above it. Styles may
 * be inline, because the Messenger styles its own elements.
 */
const POLICY = `default-src 'none'
script-src 'self' app.intercom.io widget.intercom.io js.intercomcdn.com
style-src 'self' 'unsafe-inline'
connect-src via.intercom.io api.intercom.io api.eu.intercom.io api.au.intercom.io
  api-iam.intercom.io api-iam.eu.intercom.io api-iam.au.intercom.io api-ping.intercom.io
  nexus-websocket-a.intercom.io nexus-websocket-b.intercom.io
  nexus-europe-websocket.intercom.io nexus-australia-websocket.intercom.io
  wss://nexus-websocket-a.intercom.io wss://nexus-websocket-b.intercom.io
  wss://nexus-europe-websocket.intercom.io wss://nexus-australia-websocket.intercom.io
  *.intercom-messenger.com wss://*.intercom-messenger.com
  uploads.intercomcdn.com uploads.intercomcdn.eu uploads.au.intercomcdn.com uploads.eu.intercomcdn.com
  uploads.intercomusercontent.com
img-src 'self' blob: data: js.intercomcdn.com gifs.intercomcdn.com video-messages.intercomcdn.com
  static.intercomassets.com static.intercomassets.eu static.au.intercomassets.com
  downloads.intercomcdn.com downloads.intercomcdn.eu downloads.au.intercomcdn.com uploads.intercomusercontent.com
  messenger-apps.intercom.io messenger-apps.eu.intercom.io messenger-apps.au.intercom.io
  *.intercom-attachments.com *.intercom-attachments.eu *.au.intercom-attachments.com
  *.intercom-attachments-1.com *.intercom-attachments-2.com *.intercom-attachments-3.com
  *.intercom-attachments-4.com *.intercom-attachments-5.com *.intercom-attachments-6.com
  *.intercom-attachments-7.com *.intercom-attachments-8.com *.intercom-attachments-9.com
font-src js.intercomcdn.com fonts.intercomcdn.com
media-src blob: js.intercomcdn.com downloads.intercomcdn.com downloads.intercomcdn.eu downloads.au.intercomcdn.com
frame-src intercom-sheets.com www.intercom-reporting.com www.youtube.com player.vimeo.com fast.wistia.net
child-src blob: intercom-sheets.com www.intercom-reporting.com www.youtube.com player.vimeo.com fast.wistia.net
worker-src blob:
form-action intercom.help api-iam.intercom.io api-iam.eu.intercom.io api-iam.au.intercom.io
frame-ancestors 'none'
base-uri 'none'`;

const DIRECTIVES = POLICY.split(/\n(?! )/).map((line) => line.split(/\s+/).map(withScheme).join(' '));

function withScheme(source: string): string {
  return source.includes('.') && !source.includes('://') ? `https://${source}` : source;
}

/**
 * The content security policy of the support page. Intercom's script runs in our origin, so the policy lets it call
 * only the support page's addresses there, never an admin's settings.
 *
 * @param ownUrls where this server answers the support page, each ending in a slash
 */
export function supportPolicy(ownUrls: readonly string[]): string {
  return DIRECTIVES.join('; ').replace('connect-src', ['connect-src', ...ownUrls].join(' '));
}
