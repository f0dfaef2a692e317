import type { SubscriptionState } from '../subscription/types.ts';

/** Stores that come with a device: Apple's rules for Messenger cards allow naming and linking only these. */
const APP_STORES: ReadonlyMap<string, { readonly name: string; readonly manageUrl: string | null }> = new Map(
  [
    ['APP_STORE', { name: 'App Store', manageUrl: 'https://apps.apple.com/account/subscriptions' }],
    ['MAC_APP_STORE', { name: 'Mac App Store', manageUrl: 'https://apps.apple.com/account/subscriptions' }],
    ['PLAY_STORE', { name: 'Google Play', manageUrl: 'https://play.google.com/store/account/subscriptions' }],
    // Amazon's and Roku's addresses differ by country: only the one from RevenueCat is right.
    ['AMAZON', { name: 'Amazon Appstore', manageUrl: null }],
    ['ROKU', { name: 'Roku', manageUrl: null }],
  ],
);

const STORE_HOSTS = /(?:^|\.)(?:apple\.com|play\.google\.com|amazon\.[a-z]{2,3}(?:\.[a-z]{2})?|roku\.com)$/;

/** `null`: not bought in an app store. */
export function appStoreName(store: string | null): string | null {
  return APP_STORES.get(store?.toUpperCase() ?? '')?.name ?? null;
}

/**
 * The store's own page for managing a subscription; `null`: none that may be linked. Pages that sell outside the app
 * stores are never linked, even when RevenueCat names one as the management address.
 */
export function manageUrlOf(subscription: Pick<SubscriptionState, 'store' | 'managementUrl'>): string | null {
  const store = APP_STORES.get(subscription.store?.toUpperCase() ?? '');
  if (!store) return null;
  const { managementUrl } = subscription;
  return managementUrl !== null && isStoreUrl(managementUrl) ? managementUrl : store.manageUrl;
}

function isStoreUrl(address: string): boolean {
  const url = URL.parse(address);
  return url?.protocol === 'https:' && STORE_HOSTS.test(url.hostname);
}
