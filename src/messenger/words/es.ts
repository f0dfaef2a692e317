import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /store$/i.test(store) ? `en el ${store}` : `en ${store}`;
}

export const spanish: MessengerWords = {
  active: (what, price, next) =>
    `Tienes ${what}${price ? ` por ${price}` : ''}.${next ? ` Se renueva el ${next}.` : ''}`,
  trial: (what, ends, price) =>
    `Tu prueba gratuita de ${what} está activa${ends ? ` hasta el ${ends}` : ''}.${price ? ` Después cuesta ${price}.` : ''}`,
  trialCancelled: (what, ends) =>
    `Tu prueba gratuita de ${what} está cancelada${ends ? ` y termina el ${ends}` : ''}. No se te cobrará nada.`,
  cancelled: (what, ends) =>
    `${what} está cancelado.${ends ? ` Puedes usarlo hasta el ${ends}.` : ''} No se te cobrará nada más.`,
  lifetime: (what) => `Tienes ${what} de por vida. No hay nada más que pagar.`,
  bought: (what, ends) => `Tienes ${what}${ends ? ` hasta el ${ends}` : ''}. No se renueva.`,
  familyShared: (what, ends) => `Tienes ${what} gracias a «En familia»${ends ? ` hasta el ${ends}` : ''}.`,
  temporary: (what, ends) =>
    `Tienes ${what} por ahora${ends ? `, hasta el ${ends}` : ''}: la tienda aún no ha confirmado la compra.`,
  willPause: (what, on, resumes) =>
    `Tienes ${what}${on ? ` hasta el ${on}` : ''}. Después estará en pausa${resumes ? ` hasta el ${resumes}` : ''}.`,
  grace: (what, ends, store) =>
    `El último pago de ${what} ha fallado.${ends ? ` Puedes usarlo hasta el ${ends}.` : ''} Comprueba tu método de pago${store ? ` ${inStore(store)}` : ''}.`,
  expired: (what, since) => `${what} terminó${since ? ` el ${since}` : ''}.`,
  paymentFailed: (what, since) => `${what} terminó${since ? ` el ${since}` : ''} porque falló un pago.`,
  refunded: (what, on) => `${what} se reembolsó el ${on}.`,
  granted: (what, ends) => `Te regalamos ${what}${ends ? ` hasta el ${ends}` : ' de por vida'}.`,
  grantEnded: (what, since) => `Nuestro regalo, ${what}, terminó${since ? ` el ${since}` : ''}.`,
  paused: (what, resumes) => `${what} está en pausa.${resumes ? ` Se reanuda el ${resumes}.` : ''}`,
};
