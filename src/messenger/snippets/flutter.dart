import 'package:intercom_flutter/intercom_flutter.dart';
import 'package:purchases_flutter/purchases_flutter.dart';

var signOuts = 0;

Future<void> onSignIn(String userId) async {
  final before = signOuts;
  await Purchases.logIn(userId);

  final token = await yourBackend.messengerToken();
  if (signOuts != before) return; // signed out since
  await Intercom.instance.setUserJwt(token);
  await Intercom.instance.loginIdentifiedUser(userId: userId);
}

// Every hour while signed in, and when the app comes to the foreground:
Future<void> renewToken() async {
  final before = signOuts;
  final token = await yourBackend.messengerToken();
  if (signOuts == before) await Intercom.instance.setUserJwt(token);
}

Future<void> onSignOut() async {
  signOuts++;
  await Intercom.instance.logout();
  await Purchases.logOut();
}
