import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /store$/i.test(store) ? `na ${store}` : `no ${store}`;
}

export const portuguese: MessengerWords = {
  title: 'Sua assinatura',
  history: 'O que aconteceu até agora',
  noHistory: 'Nada aconteceu ainda.',
  labels: {
    price: 'Preço',
    since: 'Desde',
    renews: 'Renovação',
    ends: 'Término',
    ended: 'Término',
    resumes: 'Retomada',
    store: 'Comprado em',
  },
  web: 'Web',
  test: 'Compra de teste',
  subscription: 'Assinatura',
  forever: 'Nunca',
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
  none: 'Você não tem nenhuma assinatura.',
  manage: (store) => `Gerenciar ${inStore(store)}`,
  askUs: 'Para mudar ou cancelar, escreva para nós.',
  writeToUs: 'Escreva para nós',
  restart: 'Voltar ao início',
  older: 'Mais antigos',
  refresh: 'Tentar de novo',
  signInFirst: 'Entre no app para ver sua assinatura aqui.',
  away: 'Sua assinatura não pode ser mostrada agora. Tente de novo em instantes.',
  linkExpired: {
    title: 'Esta página expirou',
    text: 'Volte ao app e abra a página de novo por lá.',
  },
  linkInvalid: {
    title: 'Esta página não pode ser aberta',
    text: 'Volte ao app e abra a página de novo por lá.',
  },
  sessionEnded: 'Esta página expirou. Volte ao app e abra a página de novo por lá.',
  chatAway: 'Não foi possível carregar o chat. Verifique sua conexão e recarregue a página.',
  share: {
    added:
      '✅ O cartão de assinatura do cliente foi adicionado à sua resposta. Só ele pode ver os próprios dados.',
    unverified:
      'Este cartão só pode ser compartilhado com um cliente que entrou com seu ID de usuário do app: ninguém mais pode ver uma assinatura.',
  },
};
