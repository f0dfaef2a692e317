import Intercom from '@intercom/intercom-react-native';
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
}
