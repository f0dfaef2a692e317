import type { GrantWords } from './types.ts';

export const german: GrantWords = {
  titles: {
    form: 'Zugang gewähren',
    extend: 'Gewährung verlängern',
    review: 'Gewährung prüfen',
    approval: 'Eine Gewährung wartet auf Zustimmung',
    grants: 'Gewährungen',
    revoke: 'Gewährung entziehen',
  },
  labels: {
    customer: 'Kunde',
    hasNow: 'Hat jetzt',
    gets: 'Bekommt',
    entitlement: 'Berechtigung',
    duration: 'Dauer',
    exactEnd: 'Oder ein genauer letzter Tag',
    reason: 'Grund',
    reasonOptional: 'Grund (nicht nötig)',
    grantedBy: 'Gewährt von',
    askedBy: 'Erbeten von',
    approvedBy: 'Zugestimmt hat',
    declinedBy: 'Abgelehnt von',
    removedBy: 'Entzogen von',
    until: 'Bis',
    on: 'Am',
    tell: 'Für den Kunden, zum Kopieren',
  },
  buttons: {
    review: 'Prüfen',
    confirm: 'Jetzt gewähren',
    ask: 'Um Zustimmung bitten',
    change: 'Ändern',
    again: 'Noch einmal versuchen',
    lookAgain: 'Noch einmal nachsehen',
    addToEnd: 'Stattdessen an das jetzige Ende anhängen',
    extend: 'Verlängern',
    revoke: 'Diese Gewährung entziehen',
    revokeNow: 'Jetzt entziehen',
    keep: 'Behalten',
    approve: 'Zustimmen und gewähren',
    decline: 'Ablehnen',
    withdraw: 'Bitte zurückziehen',
    grant: 'Zugang gewähren',
    grants: 'Alle Gewährungen',
    moreEntitlements: 'Weitere Berechtigungen',
    older: 'Ältere',
    newer: 'Neuere',
    settings: 'Einstellungen öffnen',
  },
  refusals: {
    switchedOff:
      'Das Gewähren ist in diesem Workspace abgeschaltet. Ein Admin kann es in den Einstellungen einschalten.',
    notAllowed:
      'Sie dürfen keinen Zugang gewähren oder entziehen. Ein Admin kann es in den Einstellungen erlauben.',
    lifetimeNotAllowed: 'Gewährungen ohne Ende sind hier nicht erlaubt. Bitte ein Ende wählen.',
    reasonMissing: 'Bitte einen Grund angeben. Er wird mit der Gewährung aufbewahrt.',
    chooseEntitlement: 'Bitte wählen, was gewährt werden soll.',
    chooseDuration: 'Bitte eine Dauer wählen.',
    endInvalid:
      'Der letzte Tag muss ein Datum wie 2027-01-31 sein, oder 2027-01-31 18:00 für eine Uhrzeit an dem Tag.',
    endPast: 'Dieses Ende ist schon vorbei. Bitte ein späteres wählen.',
    endTooFar: 'Das Ende liegt zu weit entfernt. Für Zugang ohne Ende bitte „Unbegrenzt“ wählen.',
    unknownCustomer: 'RevenueCat kennt diesen Kunden nicht. Es wurde nichts gewährt.',
    noCustomerId: 'Dieser Kunde hat keine ID, die RevenueCat annimmt. Es wurde nichts gewährt.',
    unsettled:
      'Eine andere Gewährung oder Entziehung dieser Berechtigung ist noch nicht bestätigt. Bitte zuerst die Gewährungen ansehen.',
    samePerson: 'Sie haben um diese Gewährung gebeten. Jemand anderes aus dem Team muss zustimmen.',
  },
  failures: {
    entitlementGone: 'RevenueCat hat diese Berechtigung nicht mehr. Es wurde nichts gewährt.',
    keyRejected:
      'RevenueCat lehnt den API-Schlüssel ab. Es wurde nichts geändert. Ein Admin muss den Schlüssel in den Einstellungen ersetzen.',
    scopeMissing:
      'Der API-Schlüssel darf das nicht. Es wurde nichts geändert. Er braucht Kundendaten, lesen und schreiben.',
    alreadyHas:
      'RevenueCat sagt, dass dieser Kunde die Berechtigung schon hat. Es wurde nichts geändert. Für ein anderes Ende bitte zuerst die laufende Gewährung entziehen.',
    slowDown:
      'RevenueCat bittet um einen Moment Geduld. Es wurde nichts geändert. Bitte noch einmal versuchen.',
    refused: 'RevenueCat hat das abgelehnt. Es wurde nichts geändert.',
    notMade: 'RevenueCat hat es nicht getan. Es wurde nichts geändert. Sie können es noch einmal versuchen.',
    neverConfirmed:
      'RevenueCat war einen Tag lang nicht zu erreichen; was daraus wurde, ist nicht bekannt. Bitte den Kunden in RevenueCat ansehen.',
    away: 'RevenueCat antwortet nicht. Es wurde nichts geändert. Sie können es noch einmal versuchen.',
  },
  states: {
    noKey:
      'Zum Gewähren braucht es einen API-Schlüssel von RevenueCat. Ein Admin kann ihn in den Einstellungen eintragen.',
    keyRejected: 'RevenueCat nimmt den API-Schlüssel nicht mehr an. Zum Gewähren braucht es einen neuen.',
    noEntitlements:
      'RevenueCat hat in diesem Projekt keine Berechtigungen, oder der Schlüssel darf sie nicht lesen.',
    noGrants: 'Diesem Kunden wurde von hier aus nichts gewährt.',
    gone: 'Diese Gewährung gehört nicht zu diesem Kunden.',
    tampered: 'Diese Karte ist veraltet. Bitte von vorn beginnen.',
    changed: 'Was der Kunde hat, hat sich inzwischen geändert. Bitte noch einmal prüfen.',
    stale: 'Das wurde vor längerer Zeit geprüft. Bitte noch einmal prüfen.',
    pending:
      'Noch nicht bestätigt: RevenueCat hat nicht geantwortet. Es klärt sich von selbst; zweimal gewährt wird nicht.',
    revokePending:
      'Noch nicht bestätigt: RevenueCat hat nicht geantwortet. Die Entziehung klärt sich von selbst.',
    noteFailed: 'Die Notiz konnte nicht in der Konversation hinterlassen werden.',
    nothing: 'keinen Zugang',
    forever: 'unbegrenzt',
    stillPays: 'Eine Gewährung beendet das bezahlte Abo nicht: Der Store bucht weiter ab.',
    anonymous:
      'Dieser Kunde hat nur eine anonyme ID: Wird die App neu installiert, ist die Gewährung womöglich nicht mehr zu finden.',
    endRule:
      'Der Tag gilt bis zu seiner letzten Sekunde, in der Zeitzone des Workspace. Ist einer angegeben, gilt die Dauer nicht.',
    revokeRule:
      'Das beendet alles, was von dieser Berechtigung gewährt wurde. Bezahlte Abos bleiben unberührt.',
  },
  durations: {
    daily: '1 Tag',
    three_day: '3 Tage',
    weekly: '1 Woche',
    two_week: '2 Wochen',
    monthly: '1 Monat',
    two_month: '2 Monate',
    three_month: '3 Monate',
    six_month: '6 Monate',
    yearly: '1 Jahr',
    lifetime: 'Unbegrenzt',
  },
  placeholders: { reason: 'Warum? Es steht im Protokoll', end: 'JJJJ-MM-TT' },
  notAllowedHere: (choice) => `${choice} (nicht erlaubt)`,
  needsSecond: (choice) => `${choice} (braucht Zustimmung)`,
  pageOf: (page, pages) => `Berechtigungen, Seite ${page} von ${pages}`,
  tooLong: (days, end) =>
    `Die längste Gewährung hier sind ${days} Tage: bis höchstens ${end}. Bitte ein früheres Ende wählen.`,
  monthlyLimit: (limit, month) =>
    `Sie dürfen ${limit} ${limit === 1 ? 'Gewährung' : 'Gewährungen'} je Kalendermonat machen, und für ${month} sind sie gemacht.`,
  reasonTooLong: (most) => `Der Grund darf höchstens ${most} Zeichen haben.`,
  accessUntil: (entitlement, end) =>
    end === null ? `${entitlement}, unbegrenzt` : `${entitlement} bis ${end}`,
  asOf: (date) => `RevenueCat antwortet nicht: Was der Kunde hat, ist der Stand vom ${date}.`,
  extendsFrom: (end) => `Die Dauer wird an das jetzige Ende angehängt, ${end}.`,
  sameGrant: (end) =>
    end === null
      ? 'Der Kunde hat das schon unbegrenzt: Es würde sich nichts ändern.'
      : `Der Kunde hat das schon bis ${end}. RevenueCat übergeht eine Gewährung, die weniger als zwei Stunden davon entfernt endet: Es würde sich nichts ändern.`,
  laterGrant: (end) =>
    end === null
      ? 'Der Kunde hat das schon unbegrenzt: Es würde sich nichts ändern.'
      : `Das wurde dem Kunden schon bis ${end} gewährt, und das ist später: Es würde sich nichts ändern.`,
  paidUntilLater: (end) =>
    end === null
      ? 'Was der Kunde gekauft hat, gibt das unbegrenzt: Die Gewährung würde nichts hinzufügen.'
      : `Was der Kunde gekauft hat, gibt das schon bis ${end}, und das ist später: Die Gewährung würde nichts hinzufügen.`,
  secondPerson: (days) =>
    `Gewährungen über ${days} Tage brauchen die Zustimmung von jemand anderem aus dem Team.`,
  granted: (entitlement, end) =>
    end === null ? `✅ ${entitlement} ist unbegrenzt gewährt.` : `✅ ${entitlement} ist bis ${end} gewährt.`,
  kept: (end) => `RevenueCat hat das bisherige Ende behalten, ${end}. Es hat sich nichts geändert.`,
  otherEnd: (asked) => `Erbeten war ${asked}; dies ist, was RevenueCat gibt.`,
  tellCustomer: (entitlement, end) =>
    end === null
      ? `Sie haben jetzt ${entitlement} unbegrenzt und kostenlos. Falls die App es noch nicht zeigt, schließen und öffnen Sie sie bitte einmal.`
      : `Sie haben jetzt ${entitlement} bis ${end}, kostenlos. Falls die App es noch nicht zeigt, schließen und öffnen Sie sie bitte einmal.`,
  awaiting: (entitlement) => `${entitlement} wartet auf die Zustimmung von jemand anderem aus dem Team.`,
  awaitingOwn: (entitlement) =>
    `${entitlement} ist noch nicht gewährt. Jemand anderes aus dem Team öffnet auf dieser Karte die Gewährungen und stimmt zu.`,
  declined: (entitlement) => `${entitlement} wurde nicht gewährt: Die Bitte wurde abgelehnt.`,
  withdrawn: (entitlement) => `${entitlement} wurde nicht gewährt: Die Bitte wurde zurückgezogen.`,
  ended: (entitlement, on) => `Die Gewährung von ${entitlement} endete am ${on}.`,
  revokeReview: (entitlement, end) =>
    end === null
      ? `**${entitlement}** entziehen, unbegrenzt gewährt?`
      : `**${entitlement}** entziehen, gewährt bis ${end}?`,
  keepsAfter: (entitlement, end) =>
    end === null
      ? `Durch den Kauf bleibt ${entitlement} unbegrenzt.`
      : `Durch den Kauf bleibt ${entitlement} bis ${end}.`,
  losesAccess: 'Der Zugang endet sofort.',
  revoked: (entitlement) => `✅ Die Gewährung von ${entitlement} ist entzogen.`,
  lines: {
    until: (end) => `bis ${end}`,
    forever: 'unbegrenzt',
    ended: (on) => `endete am ${on}`,
    revoked: 'entzogen',
    failed: 'nicht gemacht',
    pending: 'noch nicht bestätigt',
    awaiting: 'wartet auf Zustimmung',
    declined: 'abgelehnt',
    withdrawn: 'zurückgezogen',
  },
  note: {
    granted: (entitlement, end) =>
      end === null ? `${entitlement} unbegrenzt gewährt.` : `${entitlement} bis ${end} gewährt.`,
    kept: (entitlement, end) =>
      `Um eine Gewährung von ${entitlement} gebeten. RevenueCat hat das bisherige Ende behalten: ${end}.`,
    notMade: (entitlement) =>
      `Die Gewährung von ${entitlement} kam nicht zustande: RevenueCat hat es nicht getan.`,
    asked: (entitlement, end) =>
      `Bittet um Zustimmung, ${entitlement} ${end === null ? 'unbegrenzt' : `bis ${end}`} zu gewähren. Jemand anderes aus dem Team kann in der Karte unter „Gewährungen“ entscheiden.`,
    declined: (entitlement) => `Abgelehnt, ${entitlement} zu gewähren.`,
    revoked: (entitlement) => `Die Gewährung von ${entitlement} entzogen.`,
    reason: (reason) => `Grund: ${reason}`,
    people: (asked, approved) => `Erbeten von ${asked}, zugestimmt hat ${approved}.`,
    askedBy: (name) => `Erbeten von ${name}.`,
    reference: (reference) => `Gewährung ${reference}`,
  },
};
