import com.revenuecat.purchases.Purchases
import com.revenuecat.purchases.awaitLogIn
import com.revenuecat.purchases.awaitLogOut
import io.intercom.android.sdk.Intercom
import io.intercom.android.sdk.identity.Registration

// Call these functions on Dispatchers.Main.
private var signOuts = 0

suspend fun onSignIn(userId: String) {
    val before = signOuts
    Purchases.sharedInstance.awaitLogIn(userId)

    val token = yourBackend.messengerToken()
    if (signOuts != before) return // signed out since
    Intercom.client().setUserJwt(token)
    Intercom.client().loginIdentifiedUser(Registration.create().withUserId(userId))
}

// Every hour while signed in, and when the app comes to the foreground:
suspend fun renewToken() {
    val before = signOuts
    val token = yourBackend.messengerToken()
    if (signOuts == before) Intercom.client().setUserJwt(token)
}

suspend fun onSignOut() {
    signOuts++
    Intercom.client().logout()
    Purchases.sharedInstance.awaitLogOut()
}
