import type { Period } from '../../subscription/period.ts';
import { frenchEventWords } from '../../subscription/words/fr.ts';
import type { CardWords } from './types.ts';

const UNITS: Readonly<Record<Period['unit'], readonly [each: string, every: string, many: string]>> = {
  week: ['semaine', 'hebdomadaire', 'semaines'],
  month: ['mois', 'mensuel', 'mois'],
  year: ['an', 'annuel', 'ans'],
};

/** Weeks are feminine. */
function everyFew({ unit, count }: Period): string {
  return `${unit === 'week' ? 'toutes' : 'tous'} les ${count} ${UNITS[unit][2]}`;
}

export const french: CardWords = {
  locale: 'fr-FR',
  clock: '24h',
  dateAtTime: (date, time) => `${date} à ${time}`,
  events: frenchEventWords,
  labels: {
    product: 'Produit',
    testPurchase: 'Achat de test',
    access: 'Accès',
    store: 'Boutique',
    renews: 'Renouvelle le',
    ends: 'Se termine le',
    ended: 'Terminé le',
    resumes: 'Reprend le',
    paid: 'Payé',
    status: 'État',
    price: 'Prix',
    started: 'Commencé le',
    renewals: 'Renouvellements',
    environment: 'Environnement',
    entitlement: 'Droit',
    project: 'Projet',
    appUserId: 'Identifiant client',
    otherIds: 'Autres identifiants',
    email: 'E-mail',
    firstSeen: 'Vu la première fois',
    lastSeen: 'Vu la dernière fois',
    country: 'Pays',
    platform: 'Plateforme',
    appVersion: "Version de l'app",
    lifetimeValue: 'Valeur totale',
    updated: 'À jour au',
    linkedBy: 'Lié par',
    reason: 'Motif',
    newProduct: 'Nouveau produit',
    periodType: 'Type de période',
    periodStart: 'Début de période',
    periodEnd: 'Fin de période',
    graceEnds: 'Fin du délai de grâce',
    offer: 'Offre',
    renewalNumber: 'Renouvellement n°',
    familySharing: 'Partage familial',
    transaction: 'Transaction',
    originalTransaction: 'Première transaction',
    from: 'De',
    to: 'À',
    type: 'Type',
    eventId: "Identifiant d'événement",
    delivery: 'Dans Intercom',
    nextTry: 'Prochain essai',
    attempts: 'Essais',
    hasNow: 'Actuellement',
  },
  buttons: {
    timeline: 'Historique',
    grant: 'Accorder un accès',
    grants: 'Accès accordés',
    details: 'Détails du client',
    subscriptions: 'Tous les abonnements',
    refresh: 'Actualiser',
    share: 'Partager avec le client',
    back: 'Retour',
    older: 'Plus anciens',
    newer: 'Plus récents',
    search: 'Rechercher',
    findAnother: 'Chercher un autre client',
    otherProject: 'Autre projet',
    link: 'Lier à ce contact',
    look: 'Afficher ce client',
    linkAgain: 'Lier à nouveau',
    unlink: 'Retirer le lien avec ce contact',
    manage: 'Abonnement à la boutique',
    openRevenueCat: 'Ouvrir dans RevenueCat',
    settings: 'Ouvrir les réglages',
    install: 'Comment installer',
  },
  titles: {
    timeline: 'Historique',
    details: 'Client',
    subscriptions: 'Abonnements',
    purchases: 'Abonnements et achats',
    attributes: 'Attributs',
    moreFields: 'Autres champs',
    match: 'Chercher le client',
    review: 'Est-ce bien ce client ?',
  },
  states: {
    notInstalled:
      "Subscription Timeline n'est pas installé dans cet espace de travail. Un admin peut l'installer.",
    disconnected:
      "Intercom n'accepte plus notre accès, les événements attendent. Un admin peut réinstaller l'app ; rien n'est perdu.",
    notConnected: "RevenueCat n'est pas encore connecté. Un admin peut le faire dans les réglages.",
    keyRejected:
      "RevenueCat refuse la clé d'API. Voici ce qu'ont dit les événements ; un admin doit remplacer la clé.",
    noKey: "Il n'y a pas de clé d'API RevenueCat : tout vient des événements.",
    noMatch: "Aucun client RevenueCat n'est connu pour ce contact.",
    lead: "Ce visiteur n'est pas connecté : rien ne dit de quel client il s'agit.",
    noContact: "Cette conversation n'a pas de contact. On peut encore trouver le client :",
    contactDeleted: 'Ce contact a été supprimé dans Intercom. On peut encore trouver le client :',
    noPurchases: "Ce client n'a rien acheté.",
    purchasesOnly: 'Pas d’abonnement. A fait des achats uniques.',
    sandboxOnly: "Achats de test seulement (sandbox). Ce client n'a rien payé.",
    severalProjects: 'Ce contact est client de plusieurs apps. Laquelle ?',
    several: 'Plusieurs clients ont cet e-mail, qui seul ne prouve rien. Lequel est-ce ?',
    possibleMatch: 'Correspondance possible par e-mail, qui seul ne prouve rien : est-ce la même personne ?',
    foundOne: 'Trouvé. Est-ce ce client ?',
    foundMany: 'Trouvé. Lequel est-ce ?',
    nothingFound: "Personne. Vérifiez l'orthographe ou cherchez autrement.",
    lookedUp:
      'Personne ici. RevenueCat est interrogé sur cet identifiant : cherchez encore dans un instant, ou autrement.',
    mentioned: 'La conversation nomme ce client. Est-ce la personne qui écrit ?',
    emptySearch: 'Saisissez un identifiant client, un e-mail ou un identifiant de transaction.',
    emptyTimeline: "Rien ne s'est encore passé.",
    emptyFilter: 'Rien de ce genre.',
    linkExplained:
      'Le lien est enregistré avec votre nom. Désormais, les événements de ce client vont à ce contact.',
    lookExplained:
      "Le contact n'existe plus, rien n'est donc lié. Le journal garde trace de votre consultation.",
    slow: "C'est plus long que d'habitude. Rien n'est perdu.",
    tampered: "Cette carte n'est plus à jour. Veuillez recommencer.",
    gone: "Cela n'existe plus.",
    failed: 'Une erreur s’est produite chez nous. Veuillez regarder à nouveau où cela en est.',
  },
  statuses: {
    active: 'Actif',
    intro: 'Prix de lancement',
    cancelled: 'Résilié',
    grace_period: 'Paiement échoué, accès maintenu',
    trial: 'Essai gratuit',
    cancelled_trial: 'Essai gratuit, annulé',
    grace_period_trial: 'Paiement échoué, accès maintenu',
    expired: 'Terminé',
    promotional: 'Accordé',
    expired_promotional: 'Accès accordé terminé',
    paused: 'En pause',
  },
  filters: {
    all: 'Tout',
    purchases: 'Achats',
    endings: 'Résiliations',
    payments: 'Paiements',
    grants: 'Accordés',
    other: 'Autres',
  },
  environments: { all: 'Tout', production: 'Production', sandbox: 'Sandbox' },
  endReasons: {
    UNSUBSCRIBE: 'résilié',
    BILLING_ERROR: 'paiement échoué',
    DEVELOPER_INITIATED: "mis fin par l'équipe de l'app",
    PRICE_INCREASE: 'hausse de prix non acceptée',
    CUSTOMER_SUPPORT: 'remboursé',
    SUBSCRIPTION_PAUSED: 'mis en pause',
  },
  searchLabel: 'Identifiant client, e-mail ou transaction',
  searchPlaceholder: 'user_123',
  forever: 'jamais',
  yes: 'oui',

  price: (sum, period) =>
    period === null
      ? sum
      : period.count === 1
        ? `${sum} par ${UNITS[period.unit][0]}`
        : `${sum} ${everyFew(period)}`,
  every: ({ unit, count }) => (count === 1 ? UNITS[unit][1] : everyFew({ unit, count })),
  list: (parts) =>
    parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} et ${parts.at(-1)}`,
  andMore: (count) => `et ${count} de plus`,
  eventCount: (count) => (count === 1 ? '1 événement' : `${count} événements`),
  paidSince: (sum, since) => (since === null ? sum : `${sum} depuis le ${since}`),
  linkedBy: (name, on) => `${name}, ${on}`,

  active: (what, price, next) =>
    `${what}${price ? `, ${price}` : ''}.${next ? ` Prochain débit le ${next}.` : ''}`,
  intro: (what, price, next) =>
    `${what}, prix de lancement${price ? ` ${price}` : ''}.${next ? ` Prochain débit le ${next}.` : ''}`,
  trial: (what, ends, price) =>
    `${what}, essai gratuit${ends ? ` jusqu'au ${ends}` : ''}. ${price ? `Ensuite ${price}.` : 'Ensuite renouvelé et débité.'}`,
  trialCancelled: (what, ends) =>
    `${what}, essai gratuit, annulé.${ends ? ` Accès jusqu'au ${ends}.` : ''} Ne sera pas débité.`,
  cancelled: (what, on, ends) =>
    `${what}, résilié${on ? ` le ${on}` : ''}.${ends ? ` Accès jusqu'au ${ends}.` : ''} Plus aucun débit.`,
  bought: (what, ends) =>
    `${what}, acheté une fois${ends ? `, jusqu'au ${ends}` : ', à vie'}. Plus aucun débit.`,
  familyShared: (what, ends) =>
    `${what}, par partage familial${ends ? ` jusqu'au ${ends}` : ''}. Un proche paie.`,
  temporary: (what, ends) =>
    `${what}, provisoirement${ends ? ` jusqu'au ${ends}` : ''} : la boutique n'a pas encore confirmé l'achat.`,
  grace: (failed, what, ends, whoTries) =>
    `Paiement échoué le ${failed}. A encore ${what}${ends ? ` jusqu'au ${ends}` : ''} pendant que ${whoTries} réessaie la carte.`,
  expired: (since, reason, what, price) =>
    `Aucun accès${since ? ` depuis le ${since}` : ''}${reason ? ` : ${reason}` : ''}.${what ? ` Avait ${what}${price ? `, ${price}` : ''}.` : ''}`,
  refunded: (sum, on) => `${sum ? `${sum} remboursés` : 'Remboursé'} le ${on}. Aucun accès depuis.`,
  granted: (what, by, ends) =>
    `${what}, accordé${by ? ` par ${by}` : ''}${ends ? ` jusqu'au ${ends}` : ' à vie'}. Ne paie pas.`,
  grantEnded: (what, on, hasPaid) =>
    `Aucun accès${on ? ` depuis le ${on}` : ''}. ${what} avait été accordé${hasPaid ? '' : " ; n'a jamais payé"}.`,
  paused: (since, resumes, sum) =>
    `En pause${since ? ` depuis le ${since}` : ''}.${resumes ? ` Reprend${sum ? ` et débite ${sum}` : ''} le ${resumes}.` : ''}`,
  willPause: (what, on, resumes) =>
    `${what}${on ? ` jusqu'au ${on}` : ''}, puis pause${resumes ? ` jusqu'au ${resumes}` : ''}. Aucun débit pendant la pause.`,
  several: (parts, sum, next) =>
    `${french.list(parts)}.${next ? ` Prochain débit${sum ? ` ${sum}` : ''} le ${next}.` : ' Plus aucun débit.'}`,
  paymentFailed: (what, on) => `Le paiement de ${what} a échoué le ${on}.`,
  pendingChange: (product) => `Passe à ${product} au prochain renouvellement.`,
  alsoGranted: (what, ends) => `${what} accordé${ends ? ` jusqu'au ${ends}` : ' à vie'}.`,
  firstSeenOn: (date) => `Vu la première fois le ${date}.`,

  delivery: {
    pending: 'Sur le point de partir',
    waiting: 'Attend un contact',
    delivered: (name, on) => `Enregistré${name ? ` comme ${name}` : ''}${on ? ` le ${on}` : ''}`,
    failed: (reason) => `Échec : ${reason}`,
    retrying: (reason) => `Pas encore : ${reason}`,
    switchedOff: 'Non envoyé : désactivé dans les réglages',
    sandbox: 'Non envoyé : achat de test',
    timelineOnly: 'Affiché seulement ici',
    madeHere: "Accordé ici ; l'événement de RevenueCat n'est pas encore arrivé",
    reasons: {
      intercom_unauthorized: "Intercom refuse notre accès ; il faut réinstaller l'app",
      intercom_scope_missing: "il manque une permission à l'app dans Intercom",
      intercom_plan_restricted: 'la formule Intercom ne le permet pas',
      intercom_not_found: 'Intercom ne connaît pas le contact',
      intercom_contact_merged: 'le contact a été fusionné avec un autre',
      intercom_rate_limited: "Intercom demande d'attendre",
      intercom_rejected: "Intercom l'a refusé",
      intercom_attribute_missing: 'il manque un attribut dans Intercom',
      intercom_event_limit: "plus de place dans Intercom pour un nom d'événement",
      intercom_unavailable: 'Intercom ne répond pas',
    },
  },

  storedData: (asOf) => `RevenueCat ne répond pas. Données enregistrées au ${asOf}.`,
  refreshing: 'RevenueCat est lent. La lecture continue en arrière-plan : actualisez à nouveau.',
  unknownToRevenueCat: "RevenueCat ne connaît pas ce client. Voici ce qu'ont dit ses événements.",
  replaces: (appUserId) => `Ceci remplace le lien avec ${appUserId}.`,
  linked: (appUserId) => `✅ Lié à ${appUserId}.`,
  unlinked: (appUserId) => `✅ Le lien avec ${appUserId} est retiré.`,
  appleNote:
    'Remboursements : seul Apple les accorde. Le client demande sur [reportaproblem.apple.com](https://reportaproblem.apple.com).',
  googleNote: 'Remboursements : pendant 365 jours, par RevenueCat ou la Google Play Console.',
};
