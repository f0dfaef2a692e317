/** One state of the card: a conversation of the demo, what is pressed in it, and which teammate looks at it. */
export interface Scene {
  readonly name: string;
  readonly conversation: string;
  /** Component IDs to press. `event:*` presses the first ID with that beginning; `id=value` fills in or chooses. */
  readonly press?: readonly string[];
  readonly admin?: string;
}

const STATES: readonly (readonly [conversation: string, name: string])[] = [
  ['501', 'Active'],
  ['502', 'Trial'],
  ['503', 'Trial cancelled'],
  ['504', 'Cancelled'],
  ['505', 'Grace period'],
  ['506', 'Expired'],
  ['507', 'Refunded'],
  ['508', 'Granted'],
  ['509', 'Paused'],
  ['510', 'Several subscriptions'],
  ['511', 'Sandbox only'],
  ['512', 'No purchases'],
  ['513', 'Google Play'],
  ['514', 'RevenueCat Web Billing'],
  ['515', 'Stripe'],
  ['601', 'Long history'],
  ['599', 'Named in the conversation'],
  ['602', 'Possible match'],
  ['603', 'Several matches'],
  ['604', 'No match'],
  ['605', 'Anonymous lead'],
  ['606', 'Contact deleted'],
  ['607', 'Several projects'],
  ['608', 'Not connected'],
  ['609', 'Key rejected'],
  ['610', 'Not installed'],
];

/** Without Japanese: the Chromium from the packages has no font for it. */
const LANGUAGES: readonly (readonly [admin: string, name: string])[] = [
  ['1011', 'German'],
  ['1012', 'French'],
  ['1013', 'Spanish'],
  ['1014', 'Portuguese'],
];

const GRANT = ['grant', 'grant.reason=Outage on Monday', 'grant.review'];

/** In an order that a designer can follow; those that change something come last. */
export const SCENES: readonly Scene[] = [
  ...STATES.map(([conversation, name]) => ({ name, conversation })),
  { name: 'Timeline', conversation: '601', press: ['timeline'] },
  { name: 'Timeline, older', conversation: '601', press: ['timeline', 'timeline:older'] },
  { name: 'Event', conversation: '505', press: ['timeline', 'event:*'] },
  { name: 'Details', conversation: '501', press: ['refresh', 'details'] },
  { name: 'Details of several', conversation: '510', press: ['refresh', 'details'] },
  { name: 'Refreshed', conversation: '504', press: ['refresh'] },
  { name: 'Found', conversation: '604', press: ['match.query=ann.berg@example.com', 'match.search'] },
  { name: 'Nothing found', conversation: '604', press: ['match.query=nobody', 'match.search'] },
  { name: 'Confirm a match', conversation: '602', press: ['match:*'] },
  { name: 'Grant', conversation: '506', press: ['grant'] },
  { name: 'Grant, reason missing', conversation: '506', press: ['grant', 'grant.review'] },
  { name: 'Grant, review', conversation: '506', press: GRANT },
  { name: 'Grant, done', conversation: '506', press: [...GRANT, 'grant.confirm'] },
  { name: 'Grants', conversation: '506', press: ['grants'] },
  { name: 'Grant, detail', conversation: '506', press: ['grants', 'grant:*'] },
  { name: 'Revoke, review', conversation: '506', press: ['grants', 'grant:*', 'revoke:*'] },
  { name: 'Linked', conversation: '602', press: ['match:*', 'match.confirm'] },
  { name: 'Unlinked', conversation: '602', press: ['details', 'unlink'] },
  ...LANGUAGES.map(([admin, name]) => ({ name, conversation: '505', admin })),
  { name: 'German, details', conversation: '505', press: ['details'], admin: '1011' },
];

export const SETTINGS_PAGES: readonly { readonly name: string; readonly path: string }[] = [
  { name: 'Home', path: '/settings' },
  { name: 'RevenueCat', path: '/settings/revenuecat' },
  { name: 'Import', path: '/settings/import' },
  { name: 'Use in Intercom', path: '/settings/use' },
  { name: 'Events', path: '/settings/events' },
  { name: 'Contacts', path: '/settings/contacts' },
  { name: 'Card', path: '/settings/card' },
  { name: 'Grants', path: '/settings/grants' },
  { name: 'Messenger', path: '/settings/messenger' },
  { name: 'Deliveries', path: '/settings/deliveries' },
  { name: 'Audit log', path: '/settings/audit' },
  { name: 'Access', path: '/settings/access' },
  { name: 'Data', path: '/settings/data' },
];
