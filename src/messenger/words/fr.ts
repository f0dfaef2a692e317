import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /^a\w* ?store$|^amazon/i.test(store) ? `sur l’${store}` : `sur ${store}`;
}

export const french: MessengerWords = {
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
};
