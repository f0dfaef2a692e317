import type { GrantWords } from './types.ts';

export const spanish: GrantWords = {
  titles: {
    form: 'Conceder acceso',
    extend: 'Ampliar el acceso concedido',
    review: 'Revisar antes de conceder',
    approval: 'Una solicitud espera aprobación',
    grants: 'Accesos concedidos',
    revoke: 'Retirar el acceso concedido',
  },
  labels: {
    customer: 'Cliente',
    hasNow: 'Tiene ahora',
    gets: 'Recibirá',
    entitlement: 'Derecho de acceso',
    duration: 'Duración',
    exactEnd: 'O un último día exacto',
    reason: 'Motivo',
    reasonOptional: 'Motivo (opcional)',
    grantedBy: 'Concedido por',
    askedBy: 'Solicitado por',
    approvedBy: 'Aprobado por',
    declinedBy: 'Rechazado por',
    removedBy: 'Retirado por',
    until: 'Hasta',
    on: 'El',
    tell: 'Para el cliente, para copiar',
  },
  buttons: {
    review: 'Revisar',
    confirm: 'Conceder ahora',
    ask: 'Pedir aprobación',
    change: 'Cambiar',
    again: 'Intentar de nuevo',
    lookAgain: 'Mirar de nuevo',
    addToEnd: 'Añadir mejor al final actual',
    extend: 'Ampliar',
    revoke: 'Retirar este acceso',
    revokeNow: 'Retirar ahora',
    keep: 'Mantener',
    approve: 'Aprobar y conceder',
    decline: 'Rechazar',
    withdraw: 'Retirar la solicitud',
    grant: 'Conceder acceso',
    grants: 'Todos los accesos concedidos',
    moreEntitlements: 'Más derechos de acceso',
    older: 'Anteriores',
    newer: 'Más recientes',
    settings: 'Abrir los ajustes',
  },
  refusals: {
    switchedOff:
      'Conceder acceso está desactivado en este espacio. Un administrador puede activarlo en los ajustes.',
    notAllowed: 'No puedes conceder ni retirar accesos. Un administrador puede permitirlo en los ajustes.',
    lifetimeNotAllowed: 'Aquí no se permiten accesos sin fin. Elige un final.',
    reasonMissing: 'Indica un motivo. Se guarda con el acceso concedido.',
    chooseEntitlement: 'Elige qué se concede.',
    chooseDuration: 'Elige una duración.',
    endInvalid:
      'El último día debe ser una fecha como 2027-01-31, o 2027-01-31 18:00 para una hora de ese día.',
    endPast: 'Ese final ya ha pasado. Elige uno posterior.',
    endTooFar: 'Ese final queda demasiado lejos. Para un acceso sin fin elige «De por vida».',
    unknownCustomer: 'RevenueCat no conoce a este cliente. No se ha concedido nada.',
    noCustomerId: 'Este cliente no tiene ningún id que RevenueCat acepte. No se ha concedido nada.',
    unsettled:
      'Otra concesión o retirada de este derecho no está confirmada todavía. Mira antes los accesos concedidos.',
    samePerson: 'Lo has solicitado tú. Otra persona del equipo debe aprobarlo.',
  },
  failures: {
    entitlementGone: 'RevenueCat ya no tiene ese derecho de acceso. No se ha concedido nada.',
    keyRejected:
      'RevenueCat rechaza la clave de API. No se ha cambiado nada. Un administrador debe sustituirla en los ajustes.',
    scopeMissing:
      'La clave de API no lo permite. No se ha cambiado nada. Necesita información de clientes, lectura y escritura.',
    alreadyHas:
      'RevenueCat dice que este cliente ya tiene el derecho. No se ha cambiado nada. Para otro final, retira antes el acceso en curso.',
    slowDown: 'RevenueCat pide esperar un momento. No se ha cambiado nada. Inténtalo de nuevo.',
    refused: 'RevenueCat lo ha rechazado. No se ha cambiado nada.',
    notMade: 'RevenueCat no lo ha hecho. No se ha cambiado nada. Puedes intentarlo de nuevo.',
    neverConfirmed:
      'RevenueCat no ha respondido durante un día y no se sabe qué ha pasado. Mira al cliente en RevenueCat.',
    away: 'RevenueCat no responde. No se ha cambiado nada. Puedes intentarlo de nuevo.',
  },
  states: {
    noKey:
      'Para conceder acceso hace falta una clave de API de RevenueCat. Un administrador puede añadirla en los ajustes.',
    keyRejected: 'RevenueCat ya no acepta la clave de API. Para conceder acceso hace falta una nueva.',
    noEntitlements: 'RevenueCat no tiene derechos de acceso en este proyecto, o la clave no puede leerlos.',
    noGrants: 'Desde aquí no se ha concedido nada a este cliente.',
    gone: 'Este acceso no es de este cliente.',
    tampered: 'Esta tarjeta ya no está al día. Empieza de nuevo.',
    changed: 'Lo que tiene el cliente ha cambiado entretanto. Revísalo de nuevo.',
    stale: 'La revisión es de hace demasiado tiempo. Revísalo de nuevo.',
    pending:
      'Sin confirmar todavía: RevenueCat no ha respondido. Se resuelve solo; no se concederá dos veces.',
    revokePending: 'Sin confirmar todavía: RevenueCat no ha respondido. La retirada se resuelve sola.',
    noteFailed: 'No se pudo dejar la nota en la conversación.',
    nothing: 'ningún acceso',
    forever: 'de por vida',
    stillPays: 'Un acceso concedido no detiene la suscripción de pago: la tienda sigue cobrando.',
    anonymous:
      'Este cliente solo tiene un id anónimo: si se reinstala la aplicación, puede que el acceso no se encuentre.',
    endRule:
      'El día cuenta hasta su último segundo, en la zona horaria del espacio. Si se indica, la duración no cuenta.',
    revokeRule:
      'La retirada termina todo lo concedido de este derecho. Las suscripciones de pago no cambian.',
  },
  durations: {
    daily: '1 día',
    three_day: '3 días',
    weekly: '1 semana',
    two_week: '2 semanas',
    monthly: '1 mes',
    two_month: '2 meses',
    three_month: '3 meses',
    six_month: '6 meses',
    yearly: '1 año',
    lifetime: 'De por vida',
  },
  placeholders: { reason: '¿Por qué? Se guarda en el registro', end: 'AAAA-MM-DD' },
  notAllowedHere: (choice) => `${choice} (no permitido)`,
  needsSecond: (choice) => `${choice} (requiere aprobación)`,
  pageOf: (page, pages) => `Derechos de acceso, página ${page} de ${pages}`,
  tooLong: (days, end) =>
    `Aquí se permiten ${days} días como máximo: hasta el ${end}. Elige un final anterior.`,
  monthlyLimit: (limit, month) =>
    `Puedes conceder ${limit} ${limit === 1 ? 'acceso' : 'accesos'} por mes natural, y en ${month} ya lo has hecho.`,
  reasonTooLong: (most) => `El motivo puede tener ${most} caracteres como máximo.`,
  accessUntil: (entitlement, end) =>
    end === null ? `${entitlement} de por vida` : `${entitlement} hasta el ${end}`,
  asOf: (date) => `RevenueCat no responde: lo que tiene el cliente es del ${date}.`,
  extendsFrom: (end) => `La duración se añade al final actual, ${end}.`,
  sameGrant: (end) =>
    end === null
      ? 'El cliente ya lo tiene de por vida: no cambiaría nada.'
      : `El cliente ya lo tiene hasta el ${end}. RevenueCat ignora un acceso que termina a menos de dos horas de ese momento: no cambiaría nada.`,
  laterGrant: (end) =>
    end === null
      ? 'El cliente ya lo tiene de por vida: no cambiaría nada.'
      : `Ya se le concedió hasta el ${end}, que es más tarde: no cambiaría nada.`,
  paidUntilLater: (end) =>
    end === null
      ? 'Lo que el cliente compró lo da de por vida: el acceso no añadiría nada.'
      : `Lo que el cliente compró ya lo da hasta el ${end}, que es más tarde: el acceso no añadiría nada.`,
  secondPerson: (days) => `Por encima de ${days} días debe aprobarlo otra persona del equipo.`,
  granted: (entitlement, end) =>
    end === null
      ? `✅ ${entitlement} está concedido de por vida.`
      : `✅ ${entitlement} está concedido hasta el ${end}.`,
  kept: (end) => `RevenueCat mantuvo el final anterior, ${end}. No se ha cambiado nada.`,
  otherEnd: (asked) => `Se pidió ${asked}; esto es lo que da RevenueCat.`,
  tellCustomer: (entitlement, end) =>
    end === null
      ? `Ahora tienes ${entitlement} de por vida, sin coste. Si la aplicación aún no lo muestra, ciérrala y ábrela de nuevo.`
      : `Ahora tienes ${entitlement} hasta el ${end}, sin coste. Si la aplicación aún no lo muestra, ciérrala y ábrela de nuevo.`,
  awaiting: (entitlement) => `${entitlement} espera la aprobación de otra persona del equipo.`,
  awaitingOwn: (entitlement) =>
    `${entitlement} aún no está concedido. Otra persona del equipo abre los accesos concedidos en esta tarjeta y lo aprueba.`,
  declined: (entitlement) => `${entitlement} no se concedió: la solicitud fue rechazada.`,
  withdrawn: (entitlement) => `${entitlement} no se concedió: la solicitud fue retirada.`,
  ended: (entitlement, on) => `El acceso concedido a ${entitlement} terminó el ${on}.`,
  revokeReview: (entitlement, end) =>
    end === null
      ? `¿Retirar **${entitlement}**, concedido de por vida?`
      : `¿Retirar **${entitlement}**, concedido hasta el ${end}?`,
  keepsAfter: (entitlement, end) =>
    end === null
      ? `Por su compra conserva ${entitlement} de por vida.`
      : `Por su compra conserva ${entitlement} hasta el ${end}.`,
  losesAccess: 'El cliente pierde el acceso en el acto.',
  revoked: (entitlement) => `✅ El acceso concedido a ${entitlement} está retirado.`,
  lines: {
    until: (end) => `hasta el ${end}`,
    forever: 'de por vida',
    ended: (on) => `terminó el ${on}`,
    revoked: 'retirado',
    failed: 'no concedido',
    pending: 'sin confirmar todavía',
    awaiting: 'espera aprobación',
    declined: 'rechazado',
    withdrawn: 'solicitud retirada',
  },
  note: {
    granted: (entitlement, end) =>
      end === null ? `${entitlement} concedido de por vida.` : `${entitlement} concedido hasta el ${end}.`,
    kept: (entitlement, end) =>
      `Se pidió acceso a ${entitlement}. RevenueCat mantuvo el final anterior: ${end}.`,
    notMade: (entitlement) => `El acceso a ${entitlement} no se concedió: RevenueCat no lo hizo.`,
    asked: (entitlement, end) =>
      `Pide aprobación para conceder ${entitlement} ${end === null ? 'de por vida' : `hasta el ${end}`}. Otra persona del equipo puede decidir en la tarjeta, en «Accesos concedidos».`,
    declined: (entitlement) => `Se rechazó conceder ${entitlement}.`,
    revoked: (entitlement) => `Acceso concedido a ${entitlement} retirado.`,
    reason: (reason) => `Motivo: ${reason}`,
    people: (asked, approved) => `Solicitado por ${asked}, aprobado por ${approved}.`,
    askedBy: (name) => `Solicitado por ${name}.`,
    reference: (reference) => `Concesión ${reference}`,
  },
};
