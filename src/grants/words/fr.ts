import type { GrantWords } from './types.ts';

export const french: GrantWords = {
  titles: {
    form: 'Accorder un accès',
    extend: 'Prolonger l’accès accordé',
    review: 'Vérifier avant d’accorder',
    approval: 'Une demande attend une approbation',
    grants: 'Accès accordés',
    revoke: 'Retirer l’accès accordé',
  },
  labels: {
    customer: 'Client',
    hasNow: 'A maintenant',
    gets: 'Recevra',
    entitlement: 'Droit d’accès',
    duration: 'Durée',
    exactEnd: 'Ou un dernier jour précis',
    reason: 'Raison',
    reasonOptional: 'Raison (facultative)',
    grantedBy: 'Accordé par',
    askedBy: 'Demandé par',
    approvedBy: 'Approuvé par',
    declinedBy: 'Refusé par',
    removedBy: 'Retiré par',
    until: 'Jusqu’au',
    on: 'Le',
    tell: 'Pour le client, à copier',
  },
  buttons: {
    review: 'Vérifier',
    confirm: 'Accorder maintenant',
    ask: 'Demander l’approbation',
    change: 'Modifier',
    again: 'Réessayer',
    lookAgain: 'Regarder à nouveau',
    addToEnd: 'Ajouter plutôt à la fin actuelle',
    extend: 'Prolonger',
    revoke: 'Retirer cet accès',
    revokeNow: 'Retirer maintenant',
    keep: 'Garder',
    approve: 'Approuver et accorder',
    decline: 'Refuser',
    withdraw: 'Retirer la demande',
    grant: 'Accorder un accès',
    grants: 'Tous les accès accordés',
    moreEntitlements: 'Autres droits d’accès',
    older: 'Plus anciens',
    newer: 'Plus récents',
    settings: 'Ouvrir les réglages',
  },
  refusals: {
    switchedOff:
      'Accorder un accès est désactivé dans cet espace. Un administrateur peut l’activer dans les réglages.',
    notAllowed:
      'Vous ne pouvez ni accorder ni retirer un accès. Un administrateur peut l’autoriser dans les réglages.',
    lifetimeNotAllowed: 'Un accès sans fin n’est pas autorisé ici. Choisissez une fin.',
    reasonMissing: 'Indiquez une raison. Elle est conservée avec l’accès accordé.',
    chooseEntitlement: 'Choisissez ce qui doit être accordé.',
    chooseDuration: 'Choisissez une durée.',
    endInvalid:
      'Le dernier jour doit être une date comme 2027-01-31, ou 2027-01-31 18:00 pour une heure de ce jour.',
    endPast: 'Cette fin est déjà passée. Choisissez-en une plus tardive.',
    endTooFar: 'Cette fin est trop lointaine. Pour un accès sans fin, choisissez « À vie ».',
    unknownCustomer: 'RevenueCat ne connaît pas ce client. Rien n’a été accordé.',
    noCustomerId: 'Ce client n’a aucun identifiant accepté par RevenueCat. Rien n’a été accordé.',
    unsettled:
      'Un autre octroi ou retrait de ce droit n’est pas encore confirmé. Regardez d’abord les accès accordés.',
    samePerson: 'C’est vous qui avez fait la demande. Un autre membre de l’équipe doit l’approuver.',
  },
  failures: {
    entitlementGone: 'RevenueCat n’a plus ce droit d’accès. Rien n’a été accordé.',
    keyRejected:
      'RevenueCat refuse la clé API. Rien n’a été changé. Un administrateur doit remplacer la clé dans les réglages.',
    scopeMissing:
      'La clé API n’y est pas autorisée. Rien n’a été changé. Il lui faut les informations clients, en lecture et écriture.',
    alreadyHas:
      'RevenueCat indique que ce client a déjà ce droit. Rien n’a été changé. Pour une autre fin, retirez d’abord l’accès en cours.',
    slowDown: 'RevenueCat demande d’attendre un instant. Rien n’a été changé. Réessayez.',
    refused: 'RevenueCat a refusé. Rien n’a été changé.',
    notMade: 'RevenueCat ne l’a pas fait. Rien n’a été changé. Vous pouvez réessayer.',
    neverConfirmed:
      'RevenueCat est resté injoignable pendant un jour : on ignore le résultat. Consultez le client dans RevenueCat.',
    away: 'RevenueCat ne répond pas. Rien n’a été changé. Vous pouvez réessayer.',
  },
  states: {
    noKey:
      'Pour accorder un accès, il faut une clé API RevenueCat. Un administrateur peut l’ajouter dans les réglages.',
    keyRejected: 'RevenueCat n’accepte plus la clé API. Il en faut une nouvelle pour accorder un accès.',
    noEntitlements: 'RevenueCat n’a aucun droit d’accès dans ce projet, ou la clé ne peut pas les lire.',
    noGrants: 'Rien n’a été accordé à ce client depuis cette carte.',
    gone: 'Cet accès n’appartient pas à ce client.',
    tampered: 'Cette carte n’est plus à jour. Veuillez recommencer.',
    changed: 'Ce que le client possède a changé entre-temps. Vérifiez à nouveau.',
    stale: 'La vérification date de trop longtemps. Vérifiez à nouveau.',
    pending:
      'Pas encore confirmé : RevenueCat n’a pas répondu. Cela se règle tout seul ; rien ne sera accordé deux fois.',
    revokePending: 'Pas encore confirmé : RevenueCat n’a pas répondu. Le retrait se règle tout seul.',
    noteFailed: 'La note n’a pas pu être laissée dans la conversation.',
    nothing: 'aucun accès',
    forever: 'à vie',
    stillPays: 'Un accès accordé n’arrête pas l’abonnement payant : la boutique continue de prélever.',
    anonymous:
      'Ce client n’a qu’un identifiant anonyme : si l’application est réinstallée, l’accès peut être introuvable.',
    endRule:
      'Le jour compte jusqu’à sa dernière seconde, dans le fuseau horaire de l’espace. S’il est indiqué, la durée ne compte pas.',
    revokeRule:
      'Le retrait met fin à tout ce qui a été accordé pour ce droit. Les abonnements payants ne changent pas.',
  },
  durations: {
    daily: '1 jour',
    three_day: '3 jours',
    weekly: '1 semaine',
    two_week: '2 semaines',
    monthly: '1 mois',
    two_month: '2 mois',
    three_month: '3 mois',
    six_month: '6 mois',
    yearly: '1 an',
    lifetime: 'À vie',
  },
  placeholders: { reason: 'Pourquoi ? Conservé dans le journal', end: 'AAAA-MM-JJ' },
  notAllowedHere: (choice) => `${choice} (non autorisé)`,
  needsSecond: (choice) => `${choice} (approbation requise)`,
  pageOf: (page, pages) => `Droits d’accès, page ${page} sur ${pages}`,
  tooLong: (days, end) =>
    `La durée maximale ici est de ${days} jours : jusqu’au ${end} au plus tard. Choisissez une fin plus proche.`,
  monthlyLimit: (limit, month) =>
    `Vous pouvez accorder ${limit} accès par mois civil, et pour ${month} c’est fait.`,
  reasonTooLong: (most) => `La raison peut compter ${most} caractères au plus.`,
  accessUntil: (entitlement, end) =>
    end === null ? `${entitlement} à vie` : `${entitlement} jusqu’au ${end}`,
  asOf: (date) => `RevenueCat ne répond pas : ce que le client possède date du ${date}.`,
  extendsFrom: (end) => `La durée s’ajoute à la fin actuelle, ${end}.`,
  sameGrant: (end) =>
    end === null
      ? 'Le client l’a déjà à vie : rien ne changerait.'
      : `Le client l’a déjà jusqu’au ${end}. RevenueCat ignore un accès qui finit à moins de deux heures de là : rien ne changerait.`,
  laterGrant: (end) =>
    end === null
      ? 'Le client l’a déjà à vie : rien ne changerait.'
      : `Cela est déjà accordé jusqu’au ${end}, donc plus tard : rien ne changerait.`,
  paidUntilLater: (end) =>
    end === null
      ? 'Ce que le client a acheté le donne à vie : l’accès n’ajouterait rien.'
      : `Ce que le client a acheté le donne déjà jusqu’au ${end}, donc plus tard : l’accès n’ajouterait rien.`,
  secondPerson: (days) => `Au-delà de ${days} jours, un autre membre de l’équipe doit approuver.`,
  granted: (entitlement, end) =>
    end === null ? `✅ ${entitlement} est accordé à vie.` : `✅ ${entitlement} est accordé jusqu’au ${end}.`,
  kept: (end) => `RevenueCat a gardé la fin précédente, ${end}. Rien n’a été changé.`,
  otherEnd: (asked) => `La demande était : ${asked} ; voici ce que RevenueCat donne.`,
  tellCustomer: (entitlement, end) =>
    end === null
      ? `Vous avez maintenant ${entitlement} à vie, gratuitement. Si l’application ne l’affiche pas encore, fermez-la puis rouvrez-la.`
      : `Vous avez maintenant ${entitlement} jusqu’au ${end}, gratuitement. Si l’application ne l’affiche pas encore, fermez-la puis rouvrez-la.`,
  awaiting: (entitlement) => `${entitlement} attend l’approbation d’un autre membre de l’équipe.`,
  awaitingOwn: (entitlement) =>
    `${entitlement} n’est pas encore accordé. Un autre membre de l’équipe ouvre les accès accordés sur cette carte et approuve.`,
  declined: (entitlement) => `${entitlement} n’a pas été accordé : la demande a été refusée.`,
  withdrawn: (entitlement) => `${entitlement} n’a pas été accordé : la demande a été retirée.`,
  ended: (entitlement, on) => `L’accès accordé à ${entitlement} a pris fin le ${on}.`,
  revokeReview: (entitlement, end) =>
    end === null
      ? `Retirer **${entitlement}**, accordé à vie ?`
      : `Retirer **${entitlement}**, accordé jusqu’au ${end} ?`,
  keepsAfter: (entitlement, end) =>
    end === null
      ? `Par son achat, le client garde ${entitlement} à vie.`
      : `Par son achat, le client garde ${entitlement} jusqu’au ${end}.`,
  losesAccess: 'Le client perd l’accès aussitôt.',
  revoked: (entitlement) => `✅ L’accès accordé à ${entitlement} est retiré.`,
  lines: {
    until: (end) => `jusqu’au ${end}`,
    forever: 'à vie',
    ended: (on) => `fini le ${on}`,
    revoked: 'retiré',
    failed: 'non accordé',
    pending: 'pas encore confirmé',
    awaiting: 'attend une approbation',
    declined: 'refusé',
    withdrawn: 'demande retirée',
  },
  note: {
    granted: (entitlement, end) =>
      end === null ? `${entitlement} accordé à vie.` : `${entitlement} accordé jusqu’au ${end}.`,
    kept: (entitlement, end) =>
      `Accès à ${entitlement} demandé. RevenueCat a gardé la fin précédente : ${end}.`,
    notMade: (entitlement) => `L’accès à ${entitlement} n’a pas été accordé : RevenueCat ne l’a pas fait.`,
    asked: (entitlement, end) =>
      `Demande l’approbation pour accorder ${entitlement} ${end === null ? 'à vie' : `jusqu’au ${end}`}. Un autre membre de l’équipe peut décider dans la carte, sous « Accès accordés ».`,
    declined: (entitlement) => `Refus d’accorder ${entitlement}.`,
    revoked: (entitlement) => `Accès accordé à ${entitlement} retiré.`,
    reason: (reason) => `Raison : ${reason}`,
    people: (asked, approved) => `Demandé par ${asked}, approuvé par ${approved}.`,
    askedBy: (name) => `Demandé par ${name}.`,
    reference: (reference) => `Octroi ${reference}`,
  },
};
