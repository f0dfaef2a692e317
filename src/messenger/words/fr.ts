import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /^a\w* ?store$|^amazon/i.test(store) ? `sur l’${store}` : `sur ${store}`;
}

export const french: MessengerWords = {
  title: 'Votre abonnement',
  history: 'Ce qui s’est passé',
  noHistory: 'Rien ne s’est encore passé.',
  labels: {
    price: 'Prix',
    since: 'Depuis',
    renews: 'Renouvellement',
    ends: 'Fin',
    ended: 'Terminé',
    resumes: 'Reprise',
    store: 'Acheté sur',
  },
  web: 'Web',
  test: 'Achat de test',
  subscription: 'Abonnement',
  forever: 'Jamais',
  active: (what, price, next) =>
    `Vous avez ${what}${price ? ` pour ${price}` : ''}.${next ? ` Renouvellement le ${next}.` : ''}`,
  trial: (what, ends, price) =>
    `Votre essai gratuit de ${what} est en cours${ends ? ` jusqu’au ${ends}` : ''}.${price ? ` Ensuite, le prix est de ${price}.` : ''}`,
  trialCancelled: (what, ends) =>
    `Votre essai gratuit de ${what} est annulé${ends ? ` et prend fin le ${ends}` : ''}. Rien ne vous sera facturé.`,
  cancelled: (what, ends) =>
    `${what} est résilié.${ends ? ` Vous pouvez l’utiliser jusqu’au ${ends}.` : ''} Plus rien ne vous sera facturé.`,
  lifetime: (what) => `Vous avez ${what} à vie. Il n’y a plus rien à payer.`,
  bought: (what, ends) => `Vous avez ${what}${ends ? ` jusqu’au ${ends}` : ''}, sans renouvellement.`,
  familyShared: (what, ends) =>
    `Vous avez ${what} grâce au partage familial${ends ? ` jusqu’au ${ends}` : ''}.`,
  temporary: (what, ends) =>
    `Vous avez ${what} provisoirement${ends ? `, jusqu’au ${ends}` : ''} : le store n’a pas encore confirmé l’achat.`,
  willPause: (what, on, resumes) =>
    `Vous avez ${what}${on ? ` jusqu’au ${on}` : ''}. Ensuite, une pause est prévue${resumes ? ` jusqu’au ${resumes}` : ''}.`,
  grace: (what, ends, store) =>
    `Le dernier paiement de ${what} a échoué.${ends ? ` Vous pouvez l’utiliser jusqu’au ${ends}.` : ''} Veuillez vérifier votre moyen de paiement${store ? ` ${inStore(store)}` : ''}.`,
  expired: (what, since) => `${what} a pris fin${since ? ` le ${since}` : ''}.`,
  paymentFailed: (what, since) =>
    `${what} a pris fin${since ? ` le ${since}` : ''} car un paiement a échoué.`,
  refunded: (what, on) => `${what} a été remboursé le ${on}.`,
  granted: (what, ends) => `Nous vous offrons ${what}${ends ? ` jusqu’au ${ends}` : ' à vie'}.`,
  grantEnded: (what, since) => `Notre cadeau, ${what}, a pris fin${since ? ` le ${since}` : ''}.`,
  paused: (what, resumes) => `${what} est en pause.${resumes ? ` Reprise le ${resumes}.` : ''}`,
  none: 'Vous n’avez pas d’abonnement.',
  manage: (store) => `Gérer ${inStore(store)}`,
  askUs: 'Pour le modifier ou le résilier, écrivez-nous.',
  writeToUs: 'Écrivez-nous',
  restart: 'Revenir au début',
  older: 'Plus anciens',
  refresh: 'Réessayer',
  signInFirst: 'Connectez-vous à l’app pour voir votre abonnement ici.',
  away: 'Votre abonnement ne peut pas être affiché pour le moment. Veuillez réessayer dans un instant.',
  linkExpired: {
    title: 'Cette page a expiré',
    text: 'Veuillez revenir à l’app et l’ouvrir de nouveau.',
  },
  linkInvalid: {
    title: 'Cette page ne peut pas être ouverte',
    text: 'Veuillez revenir à l’app et l’ouvrir de nouveau.',
  },
  sessionEnded: 'Cette page a expiré. Veuillez revenir à l’app et l’ouvrir de nouveau.',
  chatAway: 'La messagerie n’a pas pu être chargée. Veuillez vérifier votre connexion et recharger la page.',
  share: {
    added:
      '✅ La carte d’abonnement du client a été ajoutée à votre réponse. Lui seul peut y voir ses données.',
    unverified:
      'Cette carte ne peut être partagée qu’avec un client connecté sous son identifiant client : un abonnement ne peut être montré à personne d’autre.',
  },
};
