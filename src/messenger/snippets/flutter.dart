import 'package:intercom_flutter/intercom_flutter.dart';
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
}
