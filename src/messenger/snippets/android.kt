import com.revenuecat.purchases.Purchases
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
}
