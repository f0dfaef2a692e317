import type { EventWords } from '../words.ts';

function isNamedStore(store: string | null): boolean {
  return store === null || /store$/i.test(store);
}

export const germanEventWords: EventWords = {
  locale: 'de-DE',
  separator: ' · ',
  titles: {
    initial_purchase: 'Abonniert',
    trial_started: 'Probezeit begonnen',
    trial_converted: 'Aus der Probezeit wurde ein Abo',
    trial_cancelled: 'Probezeit gekündigt',
    renewal: 'Verlängert',
    cancellation: 'Gekündigt',
    non_subscription_purchase: 'Etwas gekauft',
    billing_issue: 'Zahlung fehlgeschlagen',
    product_change: 'Tarif gewechselt',
    refund: 'Erstattet',
    refund_reversed: 'Erstattung zurückgenommen',
    uncancellation: 'Verlängerung wieder eingeschaltet',
    subscription_paused: 'Pause vorgemerkt',
    subscription_extended: 'Abo verlängert',
    promotional_granted: 'Zugang gewährt',
    promotional_revoked: 'Gewährter Zugang entzogen',
    temporary_entitlement_grant: 'Vorläufiger Zugang',
    invoice_issued: 'Rechnung gestellt',
    purchase_redeemed: 'Webkauf eingelöst',
    experiment_enrollment: 'In ein Experiment aufgenommen',
    subscriber_alias: 'Kunden-IDs verbunden',
    test: 'Testereignis',
  },
  subscriptionEnded: 'Abo beendet',
  grantEnded: 'Gewährter Zugang beendet',
  transferReceived: 'Käufe eines anderen Kunden erhalten',
  transferGiven: 'Käufe an einen anderen Kunden übergegangen',
  priceIncreaseRequired: 'Um Zustimmung zur Preiserhöhung gebeten',
  priceIncreaseApproved: 'Der Preiserhöhung zugestimmt',
  paywall: {
    IMPRESSION: 'Paywall gesehen',
    CLOSE: 'Paywall geschlossen',
    CANCEL: 'Kauf auf einer Paywall abgebrochen',
    EXIT_OFFER: 'Abschiedsangebot gesehen',
    COMPONENT_INTERACTED: 'Auf eine Paywall getippt',
    OTHER: 'Paywall',
  },
  currencyGained: 'Virtuelle Währung erhalten',
  currencySpent: 'Virtuelle Währung ausgegeben',
  granted: 'gewährt',
  familySharing: 'Familienfreigabe',
  reason(reason, store) {
    switch (reason) {
      case 'UNSUBSCRIBE':
        return 'Verlängerung ausgeschaltet';
      case 'BILLING_ERROR':
        return `${isNamedStore(store) ? `der ${store ?? 'Store'}` : store} konnte die Karte nicht belasten`;
      case 'CUSTOMER_SUPPORT':
        return `Erstattung ${isNamedStore(store) ? `beim ${store ?? 'Store'}` : `bei ${store}`} verlangt`;
      case 'DEVELOPER_INITIATED':
        return 'vom Team der App beendet';
      case 'PRICE_INCREASE':
        return 'Preiserhöhung nicht zugestimmt';
      case 'SUBSCRIPTION_PAUSED':
        return 'pausiert';
      case 'UNKNOWN':
        return 'aus unbekanntem Grund';
    }
  },
  change: (from, to) => (from === null ? `zu ${to}` : `von ${from} zu ${to}`),
  offer: (code) => `Angebot ${code}`,
  variant: (experiment, variant) =>
    experiment === null ? `Variante ${variant}` : `${experiment}, Variante ${variant}`,
};
