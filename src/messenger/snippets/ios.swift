import Intercom
import RevenueCat

func onSignIn(userId: String) async throws {
    _ = try await Purchases.shared.logIn(userId)

    let token = try await yourBackend.messengerToken()
    Intercom.setUserJwt(token)
    let attributes = ICMUserAttributes()
    attributes.userId = userId
    Intercom.loginUser(with: attributes) { result in
        if case .failure(let error) = result { print("Intercom: \(error)") }
    }
}

// Before it expires (expires_at), and when the app comes to the foreground:
func renewToken() async throws {
    Intercom.setUserJwt(try await yourBackend.messengerToken())
}

func onSignOut() async throws {
    Intercom.logout()
    _ = try await Purchases.shared.logOut()
}
