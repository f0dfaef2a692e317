import type { EventWords } from '../words.ts';

function isNamedStore(store: string | null): boolean {
  return store === null || /store$/i.test(store);
}

export const portugueseEventWords: EventWords = {
  locale: 'pt-BR',
  separator: ' · ',
  titles: {
    initial_purchase: 'Assinou',
    trial_started: 'Começou um teste grátis',
    trial_converted: 'O teste virou assinatura',
    trial_cancelled: 'Cancelou o teste grátis',
    renewal: 'Renovado',
    cancellation: 'Cancelado',
    non_subscription_purchase: 'Fez uma compra',
    billing_issue: 'Pagamento falhou',
    product_change: 'Mudou de plano',
    refund: 'Reembolsado',
    refund_reversed: 'Reembolso desfeito',
    uncancellation: 'Reativou a renovação',
    subscription_paused: 'Programou uma pausa',
    subscription_extended: 'Assinatura prorrogada',
    promotional_granted: 'Acesso concedido',
    promotional_revoked: 'Acesso concedido retirado',
    temporary_entitlement_grant: 'Acesso provisório',
    invoice_issued: 'Fatura emitida',
    purchase_redeemed: 'Resgatou uma compra da web',
    experiment_enrollment: 'Entrou em um experimento',
    subscriber_alias: 'Identificadores do cliente unidos',
    test: 'Evento de teste',
  },
  subscriptionEnded: 'Assinatura terminada',
  grantEnded: 'Acesso concedido terminado',
  transferReceived: 'Recebeu compras de outro cliente',
  transferGiven: 'Compras passadas a outro cliente',
  priceIncreaseRequired: 'Consultado sobre um aumento de preço',
  priceIncreaseApproved: 'Aceitou um aumento de preço',
  paywall: {
    IMPRESSION: 'Viu um paywall',
    CLOSE: 'Fechou um paywall',
    CANCEL: 'Desistiu de uma compra em um paywall',
    EXIT_OFFER: 'Viu uma oferta de saída',
    COMPONENT_INTERACTED: 'Tocou em um paywall',
    OTHER: 'Paywall',
  },
  currencyGained: 'Recebeu moeda virtual',
  currencySpent: 'Gastou moeda virtual',
  granted: 'concedido',
  familySharing: 'em família',
  reason(reason, store) {
    switch (reason) {
      case 'UNSUBSCRIBE':
        return 'desativou a renovação';
      case 'BILLING_ERROR':
        return `${isNamedStore(store) ? `a ${store ?? 'loja'}` : store} não conseguiu cobrar no cartão`;
      case 'CUSTOMER_SUPPORT':
        return `pediu reembolso ${isNamedStore(store) ? `à ${store ?? 'loja'}` : `a ${store}`}`;
      case 'DEVELOPER_INITIATED':
        return 'terminado pela equipe do app';
      case 'PRICE_INCREASE':
        return 'não aceitou o aumento de preço';
      case 'SUBSCRIPTION_PAUSED':
        return 'pausado';
      case 'UNKNOWN':
        return 'por motivo desconhecido';
    }
  },
  change: (from, to) => (from === null ? `para ${to}` : `de ${from} para ${to}`),
  offer: (code) => `oferta ${code}`,
  variant: (experiment, variant) =>
    experiment === null ? `variante ${variant}` : `${experiment}, variante ${variant}`,
};
