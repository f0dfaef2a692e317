import type { EventWords } from '../words.ts';

/** People say «el App Store», and «Google Play» without an article. */
function withArticle(store: string | null): string {
  if (store === null) return 'la tienda';
  return /store$/i.test(store) ? `el ${store}` : store;
}

export const spanishEventWords: EventWords = {
  locale: 'es-ES',
  separator: ' · ',
  titles: {
    initial_purchase: 'Se suscribió',
    trial_started: 'Empezó una prueba gratuita',
    trial_converted: 'La prueba pasó a suscripción',
    trial_cancelled: 'Canceló la prueba gratuita',
    renewal: 'Renovado',
    cancellation: 'Cancelado',
    non_subscription_purchase: 'Hizo una compra',
    billing_issue: 'Pago fallido',
    product_change: 'Cambió de plan',
    refund: 'Reembolsado',
    refund_reversed: 'Reembolso revertido',
    uncancellation: 'Reactivó la renovación',
    subscription_paused: 'Programó una pausa',
    subscription_extended: 'Suscripción ampliada',
    promotional_granted: 'Acceso concedido',
    promotional_revoked: 'Acceso concedido retirado',
    temporary_entitlement_grant: 'Acceso provisional',
    invoice_issued: 'Factura emitida',
    purchase_redeemed: 'Canjeó una compra web',
    experiment_enrollment: 'Entró en un experimento',
    subscriber_alias: 'Identificadores de cliente unidos',
    test: 'Evento de prueba',
  },
  subscriptionEnded: 'Suscripción terminada',
  grantEnded: 'Acceso concedido terminado',
  transferReceived: 'Recibió compras de otro cliente',
  transferGiven: 'Compras pasadas a otro cliente',
  priceIncreaseRequired: 'Se le pidió aceptar una subida de precio',
  priceIncreaseApproved: 'Aceptó una subida de precio',
  paywall: {
    IMPRESSION: 'Vio un muro de pago',
    CLOSE: 'Cerró un muro de pago',
    CANCEL: 'Canceló una compra en un muro de pago',
    EXIT_OFFER: 'Vio una oferta de salida',
    COMPONENT_INTERACTED: 'Tocó un muro de pago',
    OTHER: 'Muro de pago',
  },
  currencyGained: 'Recibió moneda virtual',
  currencySpent: 'Gastó moneda virtual',
  granted: 'concedido',
  familySharing: 'en familia',
  reason(reason, store) {
    switch (reason) {
      case 'UNSUBSCRIBE':
        return 'desactivó la renovación';
      case 'BILLING_ERROR':
        return `${withArticle(store)} no pudo cobrar a la tarjeta`;
      case 'CUSTOMER_SUPPORT':
        return `pidió un reembolso a ${withArticle(store)}`.replace(' a el ', ' al ');
      case 'DEVELOPER_INITIATED':
        return 'terminado por el equipo de la app';
      case 'PRICE_INCREASE':
        return 'no aceptó la subida de precio';
      case 'SUBSCRIPTION_PAUSED':
        return 'en pausa';
      case 'UNKNOWN':
        return 'por un motivo desconocido';
    }
  },
  change: (from, to) => (from === null ? `a ${to}` : `de ${from} a ${to}`),
  offer: (code) => `oferta ${code}`,
  variant: (experiment, variant) =>
    experiment === null ? `variante ${variant}` : `${experiment}, variante ${variant}`,
};
