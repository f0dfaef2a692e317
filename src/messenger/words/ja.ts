import type { MessengerWords } from '../words.ts';

export const japanese: MessengerWords = {
  title: 'ご利用中のサブスクリプション',
  history: 'これまでの履歴',
  noHistory: '履歴はまだありません。',
  labels: {
    price: '料金',
    since: '開始日',
    renews: '次回更新日',
    ends: '終了日',
    ended: '終了日',
    resumes: '再開日',
    store: '購入先',
  },
  web: 'ウェブ',
  test: 'テスト購入',
  subscription: 'サブスクリプション',
  forever: 'なし',
  active: (what, price, next) =>
    `${what}${price ? `（${price}）` : ''}をご利用中です。${next ? `次回の更新日は${next}です。` : ''}`,
  trial: (what, ends, price) =>
    `${what}の無料トライアルを${ends ? `${ends}まで` : ''}ご利用いただけます。${price ? `その後の料金は${price}です。` : ''}`,
  trialCancelled: (what, ends) =>
    `${what}の無料トライアルは解約済みです。${ends ? `${ends}に終了します。` : ''}料金は請求されません。`,
  cancelled: (what, ends) =>
    `${what}は解約済みです。${ends ? `${ends}までご利用いただけます。` : ''}今後の請求はありません。`,
  lifetime: (what) => `${what}を無期限でご利用いただけます。今後のお支払いはありません。`,
  bought: (what, ends) => `${what}を${ends ? `${ends}まで` : ''}ご利用いただけます。自動更新はされません。`,
  familyShared: (what, ends) => `ファミリー共有で${what}を${ends ? `${ends}まで` : ''}ご利用いただけます。`,
  temporary: (what, ends) =>
    `ストアが購入を確認中のため、${what}を${ends ? `${ends}まで` : ''}一時的にご利用いただけます。`,
  willPause: (what, on, resumes) =>
    `${what}を${on ? `${on}まで` : ''}ご利用いただけます。その後${resumes ? `${resumes}まで` : ''}一時停止します。`,
  grace: (what, ends, store) =>
    `${what}の前回のお支払いが完了しませんでした。${ends ? `${ends}までご利用いただけます。` : ''}${store ? `${store}の` : ''}お支払い方法をご確認ください。`,
  expired: (what, since) => `${what}は${since ? `${since}に` : ''}終了しました。`,
  paymentFailed: (what, since) =>
    `お支払いが完了しなかったため、${what}は${since ? `${since}に` : ''}終了しました。`,
  refunded: (what, on) => `${what}は${on}に返金されました。`,
  granted: (what, ends) => `${what}を${ends ? `${ends}まで` : '無期限で'}プレゼントしています。`,
  grantEnded: (what, since) => `プレゼントした${what}は${since ? `${since}に` : ''}終了しました。`,
  paused: (what, resumes) => `${what}は一時停止中です。${resumes ? `${resumes}に再開します。` : ''}`,
  none: 'サブスクリプションはありません。',
  manage: (store) => `${store}で管理`,
  askUs: '変更や解約をご希望の場合は、お問い合わせください。',
  writeToUs: 'お問い合わせ',
  restart: '最初に戻る',
  older: '以前の履歴',
  refresh: 'もう一度試す',
  signInFirst: 'アプリにログインすると、ここにサブスクリプションが表示されます。',
  away: '現在サブスクリプションを表示できません。しばらくしてからもう一度お試しください。',
  linkExpired: {
    title: 'このページの有効期限が切れました',
    text: 'アプリに戻り、もう一度開いてください。',
  },
  linkInvalid: {
    title: 'このページを開けません',
    text: 'アプリに戻り、もう一度開いてください。',
  },
  sessionEnded: 'このページの有効期限が切れました。アプリに戻り、もう一度開いてください。',
  chatAway: 'チャットを読み込めませんでした。接続を確認し、ページを再読み込みしてください。',
  share: {
    added:
      '✅ お客様専用のサブスクリプションカードを返信に追加しました。内容はお客様ご本人だけに表示されます。',
    unverified:
      'このカードは、アプリユーザーIDでログインしているお客様とのみ共有できます。ほかの人にサブスクリプションを表示することはできません。',
  },
};
