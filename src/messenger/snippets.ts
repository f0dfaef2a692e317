import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Region } from '../workspaces/repository.ts';

/** The SDKs call Australia `ap`. Source: `@intercom/messenger-js-sdk`. */
export const SDK_REGIONS: Readonly<Record<Region, 'us' | 'eu' | 'ap'>> = { US: 'us', EU: 'eu', AU: 'ap' };

/** Files of `snippets/` with the packages each needs. Placeholders: `PUBLIC_URL`, `WORKSPACE_ID` and `REGION`. */
const SNIPPETS: readonly (readonly [file: string, platform: string, needs: string])[] = [
  ['backend.js', 'Your backend', 'Any language. Keep the API key there: never in an app or a web page.'],
  ['web.js', 'Web', 'npm install @intercom/messenger-js-sdk @revenuecat/purchases-js'],
  ['ios.swift', 'iOS', 'Swift packages: intercom/intercom-ios-sp, RevenueCat/purchases-ios'],
  ['android.kt', 'Android', 'Gradle: io.intercom.android:intercom-sdk, com.revenuecat.purchases:purchases'],
  ['react-native.js', 'React Native', 'npm install @intercom/intercom-react-native react-native-purchases'],
  ['flutter.dart', 'Flutter', 'flutter pub add intercom_flutter purchases_flutter'],
  [
    'support-page.js',
    'Support page',
    'For a web view or a help link. Request the link when it is tapped: it opens once, within ten minutes.',
  ],
];

/**
 * Code to copy, for each platform: RevenueCat and Intercom get the same ID, and Intercom gets the token that the
 * customer's own backend requested. The calls are those of the SDKs' public interfaces.
 */
export function snippets(options: { publicUrl: string; workspaceId: string; region: Region }) {
  const values: Readonly<Record<string, string>> = {
    PUBLIC_URL: options.publicUrl,
    WORKSPACE_ID: options.workspaceId,
    REGION: SDK_REGIONS[options.region],
  };
  return SNIPPETS.map(([file, platform, needs]) => ({
    id: file.replace(/\.\w+$/, ''),
    platform,
    needs,
    code: readFileSync(join(import.meta.dirname, 'snippets', file), 'utf8')
      .trimEnd()
      .replaceAll(/\b(?:PUBLIC_URL|WORKSPACE_ID|REGION)\b/g, (name) => values[name] ?? name),
  }));
}
