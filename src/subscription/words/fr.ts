import type { EventWords } from '../words.ts';

/** People say « l'App Store » and « le Mac App Store », and « Google Play » without an article. */
function withArticle(store: string | null, preposition = ''): string {
  if (store === null) return `${preposition}la boutique`;
  if (!/store$/i.test(store)) return `${preposition}${store}`;
  return /^a/i.test(store) ? `${preposition}l'${store}` : `${preposition}le ${store}`;
}

export const frenchEventWords: EventWords = {
  locale: 'fr-FR',
  separator: ' · ',
  titles: {
    initial_purchase: 'Abonnement souscrit',
    trial_started: 'Essai gratuit commencé',
    trial_converted: 'Essai devenu abonnement',
    trial_cancelled: 'Essai gratuit annulé',
    renewal: 'Renouvelé',
    cancellation: 'Résilié',
    non_subscription_purchase: 'Achat effectué',
    billing_issue: 'Paiement échoué',
    product_change: 'Changement de formule',
    refund: 'Remboursé',
    refund_reversed: 'Remboursement annulé',
    uncancellation: 'Renouvellement réactivé',
    subscription_paused: 'Pause programmée',
    subscription_extended: 'Abonnement prolongé',
    promotional_granted: 'Accès accordé',
    promotional_revoked: 'Accès accordé retiré',
    temporary_entitlement_grant: 'Accès provisoire',
    invoice_issued: 'Facture émise',
    purchase_redeemed: 'Achat web utilisé',
    experiment_enrollment: 'Inscrit à une expérience',
    subscriber_alias: 'Identifiants client liés',
    test: 'Événement de test',
  },
  subscriptionEnded: 'Abonnement terminé',
  grantEnded: 'Accès accordé terminé',
  transferReceived: "Achats reçus d'un autre client",
  transferGiven: 'Achats passés à un autre client',
  priceIncreaseRequired: 'Accord demandé pour une hausse de prix',
  priceIncreaseApproved: 'Hausse de prix acceptée',
  paywall: {
    IMPRESSION: 'A vu un paywall',
    CLOSE: 'A fermé un paywall',
    CANCEL: 'A abandonné un achat sur un paywall',
    EXIT_OFFER: 'A vu une offre de départ',
    COMPONENT_INTERACTED: 'A touché un paywall',
    OTHER: 'Paywall',
  },
  currencyGained: 'Monnaie virtuelle reçue',
  currencySpent: 'Monnaie virtuelle dépensée',
  granted: 'accordé',
  familySharing: 'partage familial',
  reason(reason, store) {
    switch (reason) {
      case 'UNSUBSCRIBE':
        return 'renouvellement désactivé';
      case 'BILLING_ERROR':
        return `${withArticle(store)} n'a pas pu débiter la carte`;
      case 'CUSTOMER_SUPPORT':
        return `remboursement demandé ${withArticle(store, 'à ').replace('à le ', 'au ')}`;
      case 'DEVELOPER_INITIATED':
        return "mis fin par l'équipe de l'app";
      case 'PRICE_INCREASE':
        return 'hausse de prix non acceptée';
      case 'SUBSCRIPTION_PAUSED':
        return 'mis en pause';
      case 'UNKNOWN':
        return 'pour une raison inconnue';
    }
  },
  change: (from, to) => (from === null ? `vers ${to}` : `de ${from} à ${to}`),
  offer: (code) => `offre ${code}`,
  variant: (experiment, variant) =>
    experiment === null ? `variante ${variant}` : `${experiment}, variante ${variant}`,
};
