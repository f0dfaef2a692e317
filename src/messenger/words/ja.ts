import type { MessengerWords } from '../words.ts';

export const japanese: MessengerWords = {
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
};
