import Intercom
import RevenueCat

@MainActor var signOuts = 0

@MainActor func onSignIn(userId: String) async throws {
    let before = signOuts
    _ = try await Purchases.shared.logIn(userId)

    let token = try await yourBackend.messengerToken()
    guard signOuts == before else { return } // signed out since
    Intercom.setUserJwt(token)
    let attributes = ICMUserAttributes()
    attributes.userId = userId
    Intercom.loginUser(with: attributes) { result in
        if case .failure(let error) = result { print("Intercom: \(error)") }
    }
}

// Every hour while signed in, and when the app comes to the foreground:
@MainActor func renewToken() async throws {
    let before = signOuts
    let token = try await yourBackend.messengerToken()
    if signOuts == before { Intercom.setUserJwt(token) }
}

@MainActor func onSignOut() async throws {
    signOuts += 1
    Intercom.logout()
    _ = try await Purchases.shared.logOut()
}
