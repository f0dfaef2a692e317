import type { EventWords } from '../words.ts';

export const japaneseEventWords: EventWords = {
  locale: 'ja-JP',
  separator: ' · ',
  titles: {
    initial_purchase: '購読開始',
    trial_started: '無料トライアル開始',
    trial_converted: '無料トライアルから有料に移行',
    trial_cancelled: '無料トライアルを解約',
    renewal: '更新',
    cancellation: '解約',
    non_subscription_purchase: '購入',
    billing_issue: '支払い失敗',
    product_change: 'プラン変更',
    refund: '返金',
    refund_reversed: '返金の取り消し',
    uncancellation: '自動更新を再開',
    subscription_paused: '一時停止を予約',
    subscription_extended: '期間延長',
    promotional_granted: '特典アクセスを付与',
    promotional_revoked: '特典アクセスを取り消し',
    temporary_entitlement_grant: '一時的なアクセス',
    invoice_issued: '請求書を発行',
    purchase_redeemed: 'Webでの購入を適用',
    experiment_enrollment: '実験に参加',
    subscriber_alias: '顧客IDを統合',
    test: 'テストイベント',
  },
  subscriptionEnded: '購読終了',
  grantEnded: '特典アクセス終了',
  transferReceived: '別の顧客から購入を引き継ぎ',
  transferGiven: '購入が別の顧客に移動',
  priceIncreaseRequired: '値上げへの同意を確認中',
  priceIncreaseApproved: '値上げに同意',
  paywall: {
    IMPRESSION: 'ペイウォールを表示',
    CLOSE: 'ペイウォールを閉じた',
    CANCEL: 'ペイウォールで購入を中止',
    EXIT_OFFER: '離脱時オファーを表示',
    COMPONENT_INTERACTED: 'ペイウォールを操作',
    OTHER: 'ペイウォール',
  },
  currencyGained: '仮想通貨を獲得',
  currencySpent: '仮想通貨を使用',
  granted: '特典',
  familySharing: 'ファミリー共有',
  reason(reason, store) {
    const name = store ?? 'ストア';
    switch (reason) {
      case 'UNSUBSCRIBE':
        return '自動更新をオフにした';
      case 'BILLING_ERROR':
        return `${name}がカードに請求できなかった`;
      case 'CUSTOMER_SUPPORT':
        return `${name}に返金を申請`;
      case 'DEVELOPER_INITIATED':
        return 'アプリの運営が終了';
      case 'PRICE_INCREASE':
        return '値上げに同意しなかった';
      case 'SUBSCRIPTION_PAUSED':
        return '一時停止';
      case 'UNKNOWN':
        return '理由不明';
    }
  },
  change: (from, to) => (from === null ? `${to}へ` : `${from}から${to}へ`),
  offer: (code) => `オファー ${code}`,
  variant: (experiment, variant) =>
    experiment === null ? `バリアント ${variant}` : `${experiment}、バリアント ${variant}`,
};
