import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /store$/i.test(store) ? `im ${store}` : `bei ${store}`;
}

export const german: MessengerWords = {
  active: (what, price, next) =>
    `Sie haben ${what}${price ? ` für ${price}` : ''}.${next ? ` Es verlängert sich am ${next}.` : ''}`,
  trial: (what, ends, price) =>
    `Ihr kostenloser Test von ${what} läuft${ends ? ` bis ${ends}` : ''}.${price ? ` Danach kostet es ${price}.` : ''}`,
  trialCancelled: (what, ends) =>
    `Ihr kostenloser Test von ${what} ist gekündigt${ends ? ` und endet am ${ends}` : ''}. Es wird nichts abgebucht.`,
  cancelled: (what, ends) =>
    `${what} ist gekündigt.${ends ? ` Sie können es bis ${ends} nutzen.` : ''} Es wird nichts mehr abgebucht.`,
  lifetime: (what) => `Sie haben ${what} auf Lebenszeit. Es ist nichts mehr zu zahlen.`,
  bought: (what, ends) => `Sie haben ${what}${ends ? ` bis ${ends}` : ''}. Es verlängert sich nicht.`,
  familyShared: (what, ends) => `Sie haben ${what} über die Familienfreigabe${ends ? ` bis ${ends}` : ''}.`,
  temporary: (what, ends) =>
    `Sie haben ${what} vorläufig${ends ? ` bis ${ends}` : ''}: Der Store hat den Kauf noch nicht bestätigt.`,
  willPause: (what, on, resumes) =>
    `Sie haben ${what}${on ? ` bis ${on}` : ''}. Danach ist es pausiert${resumes ? ` bis ${resumes}` : ''}.`,
  grace: (what, ends, store) =>
    `Die letzte Zahlung für ${what} ist fehlgeschlagen.${ends ? ` Sie können es bis ${ends} nutzen.` : ''} Bitte prüfen Sie Ihre Zahlungsart${store ? ` ${inStore(store)}` : ''}.`,
  expired: (what, since) => `${what} ist${since ? ` am ${since}` : ''} ausgelaufen.`,
  paymentFailed: (what, since) =>
    `${what} ist${since ? ` am ${since}` : ''} ausgelaufen, weil eine Zahlung fehlgeschlagen ist.`,
  refunded: (what, on) => `${what} wurde am ${on} erstattet.`,
  granted: (what, ends) =>
    `Sie haben ${what} von uns geschenkt${ends ? ` bis ${ends}` : ', auf Lebenszeit'}.`,
  grantEnded: (what, since) => `Unser Geschenk, ${what}, ist${since ? ` am ${since}` : ''} ausgelaufen.`,
  paused: (what, resumes) => `${what} ist pausiert.${resumes ? ` Es geht am ${resumes} weiter.` : ''}`,
};
