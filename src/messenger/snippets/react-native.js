import Intercom from '@intercom/intercom-react-native';
import Purchases from 'react-native-purchases';

let signOuts = 0;

export async function onSignIn(userId) {
  const before = signOuts;
  await Purchases.logIn(userId);

  const { token } = await yourBackend.messengerToken();
  if (signOuts !== before) return; // signed out since
  await Intercom.setUserJwt(token);
  await Intercom.loginUserWithUserAttributes({ userId });
}

// Every hour while signed in, and when the app comes to the foreground:
export async function renewToken() {
  const before = signOuts;
  const { token } = await yourBackend.messengerToken();
  if (signOuts === before) await Intercom.setUserJwt(token);
}

export async function onSignOut() {
  signOuts += 1;
  await Intercom.logout();
  await Purchases.logOut();
}
