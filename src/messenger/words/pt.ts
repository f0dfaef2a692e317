import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /store$/i.test(store) ? `na ${store}` : `no ${store}`;
}

export const portuguese: MessengerWords = {
  active: (what, price, next) =>
    `Você tem ${what}${price ? ` por ${price}` : ''}.${next ? ` A renovação é em ${next}.` : ''}`,
  trial: (what, ends, price) =>
    `Seu teste grátis de ${what} está ativo${ends ? ` até ${ends}` : ''}.${price ? ` Depois custa ${price}.` : ''}`,
  trialCancelled: (what, ends) =>
    `Seu teste grátis de ${what} está cancelado${ends ? ` e termina em ${ends}` : ''}. Nada será cobrado.`,
  cancelled: (what, ends) =>
    `${what} está cancelado.${ends ? ` Você pode usar até ${ends}.` : ''} Nada mais será cobrado.`,
  lifetime: (what) => `Você tem ${what} para sempre. Não há mais nada a pagar.`,
  bought: (what, ends) => `Você tem ${what}${ends ? ` até ${ends}` : ''}, sem renovação.`,
  familyShared: (what, ends) =>
    `Você tem ${what} pelo Compartilhamento Familiar${ends ? ` até ${ends}` : ''}.`,
  temporary: (what, ends) =>
    `Você tem ${what} por enquanto${ends ? `, até ${ends}` : ''}: a loja ainda não confirmou a compra.`,
  willPause: (what, on, resumes) =>
    `Você tem ${what}${on ? ` até ${on}` : ''}. Depois haverá uma pausa${resumes ? ` até ${resumes}` : ''}.`,
  grace: (what, ends, store) =>
    `O último pagamento de ${what} falhou.${ends ? ` Você pode usar até ${ends}.` : ''} Verifique sua forma de pagamento${store ? ` ${inStore(store)}` : ''}.`,
  expired: (what, since) => `${what} terminou${since ? ` em ${since}` : ''}.`,
  paymentFailed: (what, since) =>
    `${what} terminou${since ? ` em ${since}` : ''} porque um pagamento falhou.`,
  refunded: (what, on) => `${what} foi reembolsado em ${on}.`,
  granted: (what, ends) => `Você ganhou ${what} de presente${ends ? ` até ${ends}` : ', para sempre'}.`,
  grantEnded: (what, since) => `Nosso presente, ${what}, terminou${since ? ` em ${since}` : ''}.`,
  paused: (what, resumes) => `${what} está em pausa.${resumes ? ` Retoma em ${resumes}.` : ''}`,
};
