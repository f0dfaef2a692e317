import type { Region } from '../workspaces/store.ts';

export interface Snippet {
  readonly id: string;
  readonly platform: string;
  /** Packages that the code needs. */
  readonly needs: string;
  readonly code: string;
}

/**
 * Code to copy, for each platform: RevenueCat and Intercom are told the same id, and Intercom gets the token that
 * the customer's own backend fetched. The calls are those of the current SDKs' public interfaces.
 */
export function snippets(options: {
  publicUrl: string;
  workspaceId: string;
  region: Region;
}): readonly Snippet[] {
  const { publicUrl, workspaceId } = options;
  const region = { US: 'us', EU: 'eu', AU: 'ap' }[options.region];
  return [
    {
      id: 'backend',
      platform: 'Your backend',
      needs: 'Any language. Keep the API key there: never in an app or a web page.',
      code: `// The address that your apps call. It answers only for the customer of the session.
app.get('/messenger-token', requireLogin, async (req, res) => {
  const answer = await fetch('${publicUrl}/api/messenger/token', {
    method: 'POST',
    headers: {
      'Authorization': \`Bearer \${process.env.SUBSCRIPTION_TIMELINE_KEY}\`,
      'Content-Type': 'application/json',
    },
    body: JSON.stringify({
      user_id: req.user.id, // the RevenueCat app user id
      email: req.user.email,
      name: req.user.name,
    }),
  });
  // {"token": "…", "expires_at": 1798675200}; what is wrong stands in error.message
  res.status(answer.status).json(await answer.json());
});`,
    },
    {
      id: 'web',
      platform: 'Web',
      needs: 'npm install @intercom/messenger-js-sdk @revenuecat/purchases-js',
      code: `import { Intercom, shutdown, update } from '@intercom/messenger-js-sdk';
import { Purchases } from '@revenuecat/purchases-js';

const fetchToken = () => fetch('/messenger-token').then((answer) => answer.json());
let renewal;

export async function onSignIn(userId) {
  Purchases.configure({ apiKey: REVENUECAT_PUBLIC_KEY, appUserId: userId });
  const { token, expires_at } = await fetchToken();
  Intercom({ app_id: '${workspaceId}', region: '${region}', intercom_user_jwt: token });
  renewInTime(expires_at);
}

function renewInTime(expiresAt) {
  renewal = setTimeout(async () => {
    const { token, expires_at } = await fetchToken();
    update({ intercom_user_jwt: token });
    renewInTime(expires_at);
  }, expiresAt * 1000 - Date.now() - 5 * 60 * 1000);
}

export function onSignOut() {
  clearTimeout(renewal);
  shutdown();
}`,
    },
    {
      id: 'ios',
      platform: 'iOS',
      needs: 'Swift packages: intercom/intercom-ios-sp, RevenueCat/purchases-ios',
      code: `import Intercom
import RevenueCat

func onSignIn(userId: String) async throws {
    _ = try await Purchases.shared.logIn(userId)

    let token = try await yourBackend.messengerToken()
    Intercom.setUserJwt(token)
    let attributes = ICMUserAttributes()
    attributes.userId = userId
    Intercom.loginUser(with: attributes) { result in
        if case .failure(let error) = result { print("Intercom: \\(error)") }
    }
}

// Before it expires (expires_at), and when the app comes to the foreground:
func renewToken() async throws {
    Intercom.setUserJwt(try await yourBackend.messengerToken())
}

func onSignOut() async throws {
    Intercom.logout()
    _ = try await Purchases.shared.logOut()
}`,
    },
    {
      id: 'android',
      platform: 'Android',
      needs: 'Gradle: io.intercom.android:intercom-sdk, com.revenuecat.purchases:purchases',
      code: `import com.revenuecat.purchases.Purchases
import com.revenuecat.purchases.awaitLogIn
import com.revenuecat.purchases.awaitLogOut
import io.intercom.android.sdk.Intercom
import io.intercom.android.sdk.identity.Registration

suspend fun onSignIn(userId: String) {
    Purchases.sharedInstance.awaitLogIn(userId)

    Intercom.client().setUserJwt(yourBackend.messengerToken())
    Intercom.client().loginIdentifiedUser(Registration.create().withUserId(userId))
}

// Before it expires (expires_at), and when the app comes to the foreground:
suspend fun renewToken() {
    Intercom.client().setUserJwt(yourBackend.messengerToken())
}

suspend fun onSignOut() {
    Intercom.client().logout()
    Purchases.sharedInstance.awaitLogOut()
}`,
    },
    {
      id: 'react-native',
      platform: 'React Native',
      needs: 'npm install @intercom/intercom-react-native react-native-purchases',
      code: `import Intercom from '@intercom/intercom-react-native';
import Purchases from 'react-native-purchases';

export async function onSignIn(userId) {
  await Purchases.logIn(userId);

  const { token } = await yourBackend.messengerToken();
  await Intercom.setUserJwt(token);
  await Intercom.loginUserWithUserAttributes({ userId });
}

// Before it expires (expires_at), and when the app comes to the foreground:
export async function renewToken() {
  const { token } = await yourBackend.messengerToken();
  await Intercom.setUserJwt(token);
}

export async function onSignOut() {
  await Intercom.logout();
  await Purchases.logOut();
}`,
    },
    {
      id: 'flutter',
      platform: 'Flutter',
      needs: 'flutter pub add intercom_flutter purchases_flutter',
      code: `import 'package:intercom_flutter/intercom_flutter.dart';
import 'package:purchases_flutter/purchases_flutter.dart';

Future<void> onSignIn(String userId) async {
  await Purchases.logIn(userId);

  await Intercom.instance.setUserJwt(await yourBackend.messengerToken());
  await Intercom.instance.loginIdentifiedUser(userId: userId);
}

// Before it expires (expires_at), and when the app comes to the foreground:
Future<void> renewToken() async {
  await Intercom.instance.setUserJwt(await yourBackend.messengerToken());
}

Future<void> onSignOut() async {
  await Intercom.instance.logout();
  await Purchases.logOut();
}`,
    },
    {
      id: 'support-page',
      platform: 'Support page',
      needs: 'For a web view or a help link. Ask for the link when it is tapped: it opens for ten minutes.',
      code: `// On your backend, for the customer of the session:
const answer = await fetch('${publicUrl}/api/messenger/support-link', {
  method: 'POST',
  headers: {
    'Authorization': \`Bearer \${process.env.SUBSCRIPTION_TIMELINE_KEY}\`,
    'Content-Type': 'application/json',
  },
  body: JSON.stringify({ user_id: req.user.id, email: req.user.email, locale: req.user.locale }),
});
const { url } = await answer.json();
res.redirect(url);`,
    },
  ];
}
