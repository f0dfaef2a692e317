import type { GrantWords } from './types.ts';

export const portuguese: GrantWords = {
  titles: {
    form: 'Conceder acesso',
    extend: 'Prorrogar o acesso concedido',
    review: 'Conferir antes de conceder',
    approval: 'Um pedido aguarda aprovação',
    grants: 'Acessos concedidos',
    revoke: 'Remover o acesso concedido',
  },
  labels: {
    customer: 'Cliente',
    hasNow: 'Tem agora',
    gets: 'Receberá',
    entitlement: 'Direito de acesso',
    duration: 'Duração',
    exactEnd: 'Ou um último dia exato',
    reason: 'Motivo',
    reasonOptional: 'Motivo (opcional)',
    grantedBy: 'Concedido por',
    askedBy: 'Pedido por',
    approvedBy: 'Aprovado por',
    declinedBy: 'Recusado por',
    removedBy: 'Removido por',
    until: 'Até',
    on: 'Em',
    tell: 'Para o cliente, para copiar',
  },
  buttons: {
    review: 'Conferir',
    confirm: 'Conceder agora',
    ask: 'Pedir aprovação',
    change: 'Alterar',
    again: 'Tentar de novo',
    lookAgain: 'Ver de novo',
    addToEnd: 'Somar ao fim atual',
    extend: 'Prorrogar',
    revoke: 'Remover este acesso',
    revokeNow: 'Remover agora',
    keep: 'Manter',
    approve: 'Aprovar e conceder',
    decline: 'Recusar',
    withdraw: 'Retirar o pedido',
    grant: 'Conceder acesso',
    grants: 'Todos os acessos concedidos',
    moreEntitlements: 'Mais direitos de acesso',
    older: 'Mais antigos',
    newer: 'Mais recentes',
    settings: 'Abrir as configurações',
  },
  refusals: {
    switchedOff:
      'Conceder acesso está desativado neste espaço. Um administrador pode ativar nas configurações.',
    notAllowed:
      'Você não pode conceder nem remover acessos. Um administrador pode permitir nas configurações.',
    lifetimeNotAllowed: 'Acessos sem fim não são permitidos aqui. Escolha um fim.',
    reasonMissing: 'Informe um motivo. Ele fica guardado com o acesso concedido.',
    chooseEntitlement: 'Escolha o que será concedido.',
    chooseDuration: 'Escolha uma duração.',
    endInvalid:
      'O último dia deve ser uma data como 2027-01-31, ou 2027-01-31 18:00 para uma hora desse dia.',
    endPast: 'Esse fim já passou. Escolha um posterior.',
    endTooFar: 'Esse fim está longe demais. Para um acesso sem fim escolha “Vitalício”.',
    unknownCustomer: 'O RevenueCat não conhece este cliente. Nada foi concedido.',
    noCustomerId: 'Este cliente não tem nenhum id que o RevenueCat aceite. Nada foi concedido.',
    unsettled:
      'Outra concessão ou remoção deste direito ainda não foi confirmada. Veja antes os acessos concedidos.',
    samePerson: 'O pedido é seu. Outra pessoa da equipe precisa aprovar.',
  },
  failures: {
    entitlementGone: 'O RevenueCat não tem mais esse direito de acesso. Nada foi concedido.',
    keyRejected:
      'O RevenueCat recusa a chave de API. Nada foi alterado. Um administrador precisa trocar a chave nas configurações.',
    scopeMissing:
      'A chave de API não permite isso. Nada foi alterado. Ela precisa de informações de clientes, leitura e escrita.',
    alreadyHas:
      'O RevenueCat diz que este cliente já tem o direito. Nada foi alterado. Para outro fim, remova antes o acesso em vigor.',
    slowDown: 'O RevenueCat pede para esperar um momento. Nada foi alterado. Tente de novo.',
    refused: 'O RevenueCat recusou. Nada foi alterado.',
    notMade: 'O RevenueCat não fez isso. Nada foi alterado. Você pode tentar de novo.',
    neverConfirmed:
      'O RevenueCat ficou um dia sem responder e não se sabe o que aconteceu. Veja o cliente no RevenueCat.',
    away: 'O RevenueCat não responde. Nada foi alterado. Você pode tentar de novo.',
  },
  states: {
    noKey:
      'Para conceder acesso é preciso uma chave de API do RevenueCat. Um administrador pode incluí-la nas configurações.',
    keyRejected: 'O RevenueCat não aceita mais a chave de API. Para conceder acesso é preciso uma nova.',
    noEntitlements: 'O RevenueCat não tem direitos de acesso neste projeto, ou a chave não pode lê-los.',
    noGrants: 'Nada foi concedido a este cliente por aqui.',
    gone: 'Este acesso não é deste cliente.',
    tampered: 'Este cartão está desatualizado. Comece de novo.',
    changed: 'O que o cliente tem mudou nesse meio-tempo. Confira de novo.',
    stale: 'A conferência é de muito tempo atrás. Confira de novo.',
    pending:
      'Ainda não confirmado: o RevenueCat não respondeu. Isso se resolve sozinho; nada será concedido duas vezes.',
    revokePending: 'Ainda não confirmado: o RevenueCat não respondeu. A remoção se resolve sozinha.',
    noteFailed: 'Não foi possível deixar a nota na conversa.',
    nothing: 'nenhum acesso',
    forever: 'vitalício',
    stillPays: 'Um acesso concedido não interrompe a assinatura paga: a loja continua cobrando.',
    anonymous:
      'Este cliente tem só um id anônimo: se o aplicativo for reinstalado, o acesso pode não ser encontrado.',
    endRule:
      'O dia vale até o seu último segundo, no fuso horário do espaço. Se for informado, a duração não vale.',
    revokeRule: 'A remoção encerra tudo o que foi concedido deste direito. As assinaturas pagas não mudam.',
  },
  durations: {
    daily: '1 dia',
    three_day: '3 dias',
    weekly: '1 semana',
    two_week: '2 semanas',
    monthly: '1 mês',
    two_month: '2 meses',
    three_month: '3 meses',
    six_month: '6 meses',
    yearly: '1 ano',
    lifetime: 'Vitalício',
  },
  placeholders: { reason: 'Por quê? Fica no registro', end: 'AAAA-MM-DD' },
  notAllowedHere: (choice) => `${choice} (não permitido)`,
  needsSecond: (choice) => `${choice} (exige aprovação)`,
  pageOf: (page, pages) => `Direitos de acesso, página ${page} de ${pages}`,
  tooLong: (days, end) => `Aqui são permitidos ${days} dias no máximo: até ${end}. Escolha um fim anterior.`,
  monthlyLimit: (limit, month) =>
    `Você pode conceder ${limit} ${limit === 1 ? 'acesso' : 'acessos'} por mês, e em ${month} já concedeu.`,
  reasonTooLong: (most) => `O motivo pode ter no máximo ${most} caracteres.`,
  accessUntil: (entitlement, end) =>
    end === null ? `${entitlement}, vitalício` : `${entitlement} até ${end}`,
  asOf: (date) => `O RevenueCat não responde: o que o cliente tem é de ${date}.`,
  extendsFrom: (end) => `A duração é somada ao fim atual, ${end}.`,
  sameGrant: (end) =>
    end === null
      ? 'O cliente já tem isso para sempre: nada mudaria.'
      : `O cliente já tem isso até ${end}. O RevenueCat ignora um acesso que termina a menos de duas horas desse momento: nada mudaria.`,
  laterGrant: (end) =>
    end === null
      ? 'O cliente já tem isso para sempre: nada mudaria.'
      : `Isso já foi concedido até ${end}, que é mais tarde: nada mudaria.`,
  paidUntilLater: (end) =>
    end === null
      ? 'O que o cliente comprou dá isso para sempre: o acesso não acrescentaria nada.'
      : `O que o cliente comprou já dá isso até ${end}, que é mais tarde: o acesso não acrescentaria nada.`,
  secondPerson: (days) => `Acima de ${days} dias, outra pessoa da equipe precisa aprovar.`,
  granted: (entitlement, end) =>
    end === null
      ? `✅ ${entitlement} foi concedido, vitalício.`
      : `✅ ${entitlement} foi concedido até ${end}.`,
  kept: (end) => `O RevenueCat manteve o fim anterior, ${end}. Nada foi alterado.`,
  otherEnd: (asked) => `O pedido era ${asked}; isto é o que o RevenueCat dá.`,
  tellCustomer: (entitlement, end) =>
    end === null
      ? `Agora você tem ${entitlement} para sempre, sem custo. Se o aplicativo ainda não mostrar, feche e abra de novo.`
      : `Agora você tem ${entitlement} até ${end}, sem custo. Se o aplicativo ainda não mostrar, feche e abra de novo.`,
  awaiting: (entitlement) => `${entitlement} aguarda a aprovação de outra pessoa da equipe.`,
  awaitingOwn: (entitlement) =>
    `${entitlement} ainda não foi concedido. Outra pessoa da equipe abre os acessos concedidos neste cartão e aprova.`,
  declined: (entitlement) => `${entitlement} não foi concedido: o pedido foi recusado.`,
  withdrawn: (entitlement) => `${entitlement} não foi concedido: o pedido foi retirado.`,
  ended: (entitlement, on) => `O acesso concedido a ${entitlement} terminou em ${on}.`,
  revokeReview: (entitlement, end) =>
    end === null
      ? `Remover **${entitlement}**, concedido como vitalício?`
      : `Remover **${entitlement}**, concedido até ${end}?`,
  keepsAfter: (entitlement, end) =>
    end === null
      ? `Pela compra, o cliente mantém ${entitlement} para sempre.`
      : `Pela compra, o cliente mantém ${entitlement} até ${end}.`,
  losesAccess: 'O cliente perde o acesso na hora.',
  revoked: (entitlement) => `✅ O acesso concedido a ${entitlement} foi removido.`,
  lines: {
    until: (end) => `até ${end}`,
    forever: 'vitalício',
    ended: (on) => `terminou em ${on}`,
    revoked: 'removido',
    failed: 'não concedido',
    pending: 'ainda não confirmado',
    awaiting: 'aguarda aprovação',
    declined: 'recusado',
    withdrawn: 'pedido retirado',
  },
  note: {
    granted: (entitlement, end) =>
      end === null ? `${entitlement} concedido, vitalício.` : `${entitlement} concedido até ${end}.`,
    kept: (entitlement, end) =>
      `Foi pedido acesso a ${entitlement}. O RevenueCat manteve o fim anterior: ${end}.`,
    notMade: (entitlement) => `O acesso a ${entitlement} não foi concedido: o RevenueCat não fez isso.`,
    asked: (entitlement, end) =>
      `Pede aprovação para conceder ${entitlement} ${end === null ? 'como vitalício' : `até ${end}`}. Outra pessoa da equipe pode decidir no cartão, em “Acessos concedidos”.`,
    declined: (entitlement) => `Recusado conceder ${entitlement}.`,
    revoked: (entitlement) => `Acesso concedido a ${entitlement} removido.`,
    reason: (reason) => `Motivo: ${reason}`,
    people: (asked, approved) => `Pedido por ${asked}, aprovado por ${approved}.`,
    askedBy: (name) => `Pedido por ${name}.`,
    reference: (reference) => `Concessão ${reference}`,
  },
};
