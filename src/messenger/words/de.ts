import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /store$/i.test(store) ? `im ${store}` : `bei ${store}`;
}

export const german: MessengerWords = {
  title: 'Ihr Abonnement',
  history: 'Was bisher geschah',
  noHistory: 'Bisher ist nichts geschehen.',
  labels: {
    price: 'Preis',
    since: 'Seit',
    renews: 'Verlängert sich',
    ends: 'Endet',
    ended: 'Beendet',
    resumes: 'Geht weiter',
    store: 'Gekauft bei',
  },
  web: 'Web',
  test: 'Testkauf',
  subscription: 'Abonnement',
  forever: 'Nie',
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
  none: 'Sie haben kein Abonnement.',
  manage: (store) => `Abonnement ${inStore(store)} verwalten`,
  askUs: 'Zum Ändern oder Kündigen schreiben Sie uns.',
  writeToUs: 'Schreiben Sie uns',
  restart: 'Zurück zum Anfang',
  older: 'Ältere',
  refresh: 'Erneut versuchen',
  signInFirst: 'Melden Sie sich in der App an, um hier Ihr Abonnement zu sehen.',
  away: 'Ihr Abonnement kann gerade nicht angezeigt werden. Bitte versuchen Sie es gleich noch einmal.',
  linkExpired: {
    title: 'Diese Seite ist abgelaufen',
    text: 'Bitte gehen Sie zurück zur App und öffnen Sie die Seite dort erneut.',
  },
  linkInvalid: {
    title: 'Diese Seite lässt sich nicht öffnen',
    text: 'Bitte gehen Sie zurück zur App und öffnen Sie die Seite dort erneut.',
  },
  sessionEnded:
    'Diese Seite ist abgelaufen. Bitte gehen Sie zurück zur App und öffnen Sie die Seite dort erneut.',
  chatAway:
    'Der Chat konnte nicht geladen werden. Bitte prüfen Sie Ihre Verbindung und laden Sie die Seite neu.',
  share: {
    added:
      '✅ Die eigene Abo-Karte des Kunden wurde Ihrer Antwort hinzugefügt. Nur er sieht darin seine Daten.',
    unverified:
      'Diese Karte kann nur mit einem Kunden geteilt werden, der unter seiner App-Nutzer-ID angemeldet ist: Niemand sonst darf ein Abonnement sehen.',
  },
};
