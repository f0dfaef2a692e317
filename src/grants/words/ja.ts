import type { GrantWords } from './types.ts';

export const japanese: GrantWords = {
  titles: {
    form: 'アクセスを付与',
    extend: '付与を延長',
    review: '付与の確認',
    approval: '承認待ちの付与',
    grants: '付与の一覧',
    revoke: '付与の取り消し',
  },
  labels: {
    customer: '顧客',
    hasNow: '現在',
    gets: '付与後',
    entitlement: 'アクセス権',
    duration: '期間',
    exactEnd: 'または最終日を指定',
    reason: '理由',
    reasonOptional: '理由（任意）',
    grantedBy: '付与した人',
    askedBy: '申請した人',
    approvedBy: '承認した人',
    declinedBy: '却下した人',
    removedBy: '取り消した人',
    until: '期限',
    on: '日時',
    tell: '顧客への文面（コピー用）',
  },
  buttons: {
    review: '確認へ進む',
    confirm: '付与する',
    ask: '承認を求める',
    change: '変更する',
    again: 'もう一度試す',
    lookAgain: 'もう一度確認',
    addToEnd: '現在の期限に追加する',
    extend: '延長する',
    revoke: 'この付与を取り消す',
    revokeNow: '取り消す',
    keep: '残しておく',
    approve: '承認して付与する',
    decline: '却下する',
    withdraw: '申請を取り下げる',
    grant: 'アクセスを付与',
    grants: '付与の一覧',
    moreEntitlements: '他のアクセス権',
    older: '以前の付与',
    newer: '新しい付与',
    settings: '設定を開く',
  },
  refusals: {
    switchedOff: 'このワークスペースでは付与が無効です。管理者が設定で有効にできます。',
    notAllowed: '付与や取り消しの権限がありません。管理者が設定で許可できます。',
    lifetimeNotAllowed: '無期限の付与はここでは許可されていません。期限を選んでください。',
    reasonMissing: '理由を入力してください。付与とともに記録されます。',
    chooseEntitlement: '付与するアクセス権を選んでください。',
    chooseDuration: '期間を選んでください。',
    endInvalid: '最終日は 2027-01-31、時刻まで指定する場合は 2027-01-31 18:00 の形で入力してください。',
    endPast: 'その期限は過ぎています。より後の日を選んでください。',
    endTooFar: 'その期限は先すぎます。期限なしにする場合は「無期限」を選んでください。',
    unknownCustomer: 'RevenueCat にこの顧客は見つかりません。何も付与していません。',
    noCustomerId: 'この顧客には RevenueCat で使える ID がありません。何も付与していません。',
    unsettled:
      'このアクセス権の別の付与または取り消しがまだ確認されていません。先に付与の一覧を見てください。',
    samePerson: 'これはご自身の申請です。別のメンバーの承認が必要です。',
  },
  failures: {
    entitlementGone: 'RevenueCat にこのアクセス権はもうありません。何も付与していません。',
    keyRejected:
      'RevenueCat が API キーを拒否しました。何も変更していません。管理者が設定でキーを差し替える必要があります。',
    scopeMissing:
      'API キーにこの操作の権限がありません。何も変更していません。顧客情報の読み取りと書き込みが必要です。',
    alreadyHas:
      'RevenueCat によると、この顧客はすでにこのアクセス権を持っています。何も変更していません。期限を変えるには、先に有効な付与を取り消してください。',
    slowDown: 'RevenueCat から待つよう求められました。何も変更していません。もう一度お試しください。',
    refused: 'RevenueCat が拒否しました。何も変更していません。',
    notMade: 'RevenueCat で実行されませんでした。何も変更されていません。もう一度お試しください。',
    neverConfirmed:
      'RevenueCat に一日中つながらず、結果が分かりません。RevenueCat で顧客を確認してください。',
    away: 'RevenueCat が応答しません。何も変更していません。もう一度お試しください。',
  },
  states: {
    noKey: '付与には RevenueCat の API キーが必要です。管理者が設定で追加できます。',
    keyRejected: 'RevenueCat が API キーを受け付けなくなりました。付与には新しいキーが必要です。',
    noEntitlements: 'このプロジェクトにアクセス権がないか、キーで読み取れません。',
    noGrants: 'この顧客には、ここから何も付与していません。',
    gone: 'この付与はこの顧客のものではありません。',
    tampered: 'このカードは古くなっています。最初からやり直してください。',
    changed: 'その間に顧客のアクセスが変わりました。もう一度確認してください。',
    stale: '確認から時間がたっています。もう一度確認してください。',
    pending:
      'まだ確認できていません。RevenueCat が応答していません。自動で確認され、二重に付与されることはありません。',
    revokePending: 'まだ確認できていません。RevenueCat が応答していません。取り消しは自動で確認されます。',
    noteFailed: '会話にメモを残せませんでした。',
    nothing: 'アクセスなし',
    forever: '無期限',
    stillPays: '付与しても有料の定期購入は止まりません。ストアの請求は続きます。',
    anonymous:
      'この顧客には匿名 ID しかありません。アプリを入れ直すと、付与が見つからなくなることがあります。',
    endRule:
      '日付はその日の最後の秒まで有効です（ワークスペースのタイムゾーン）。指定すると期間は使われません。',
    revokeRule: 'このアクセス権の付与はすべて終わります。有料の定期購入には影響しません。',
  },
  durations: {
    daily: '1日',
    three_day: '3日',
    weekly: '1週間',
    two_week: '2週間',
    monthly: '1か月',
    two_month: '2か月',
    three_month: '3か月',
    six_month: '6か月',
    yearly: '1年',
    lifetime: '無期限',
  },
  placeholders: { reason: '理由を入力（監査ログに残ります）', end: 'YYYY-MM-DD' },
  notAllowedHere: (choice) => `${choice}（不可）`,
  needsSecond: (choice) => `${choice}（要承認）`,
  pageOf: (page, pages) => `アクセス権 ${page}/${pages} ページ`,
  tooLong: (days, end) =>
    `ここで付与できるのは最長 ${days} 日、${end} までです。より早い期限を選んでください。`,
  monthlyLimit: (limit, month) => `付与できるのは月 ${limit} 件までで、${month} の分は終わっています。`,
  reasonTooLong: (most) => `理由は ${most} 文字以内で入力してください。`,
  accessUntil: (entitlement, end) =>
    end === null ? `${entitlement}（無期限）` : `${entitlement}（${end} まで）`,
  asOf: (date) => `RevenueCat が応答しません。現在の内容は ${date} 時点のものです。`,
  extendsFrom: (end) => `期間は現在の期限 ${end} に追加されます。`,
  sameGrant: (end) =>
    end === null
      ? 'すでに無期限で利用できます。何も変わりません。'
      : `すでに ${end} まで付与されています。RevenueCat は期限の差が2時間以内の付与を無視するため、何も変わりません。`,
  laterGrant: (end) =>
    end === null
      ? 'すでに無期限で利用できます。何も変わりません。'
      : `すでに、より後の ${end} まで付与されています。何も変わりません。`,
  paidUntilLater: (end) =>
    end === null
      ? '購入により無期限で使えます。付与しても何も変わりません。'
      : `購入により、より後の ${end} まで使えます。付与しても何も変わりません。`,
  secondPerson: (days) => `${days} 日を超える付与には、別のメンバーの承認が必要です。`,
  granted: (entitlement, end) =>
    end === null
      ? `✅ ${entitlement} を無期限で付与しました。`
      : `✅ ${entitlement} を ${end} まで付与しました。`,
  kept: (end) => `RevenueCat は以前の期限 ${end} をそのまま残しました。何も変わっていません。`,
  otherEnd: (asked) => `申請した期限は ${asked} でした。RevenueCat が返した期限を表示しています。`,
  tellCustomer: (entitlement, end) =>
    end === null
      ? `${entitlement} を無期限で無料でご利用いただけるようになりました。アプリに反映されていない場合は、一度閉じて開き直してください。`
      : `${entitlement} を ${end} まで無料でご利用いただけるようになりました。アプリに反映されていない場合は、一度閉じて開き直してください。`,
  awaiting: (entitlement) => `${entitlement} は別のメンバーの承認を待っています。`,
  awaitingOwn: (entitlement) =>
    `${entitlement} はまだ付与されていません。別のメンバーがこのカードの付与の一覧を開いて承認します。`,
  declined: (entitlement) => `${entitlement} は付与されませんでした。申請は却下されました。`,
  withdrawn: (entitlement) => `${entitlement} は付与されませんでした。申請は取り下げられました。`,
  ended: (entitlement, on) => `${entitlement} の付与は ${on} に終わりました。`,
  revokeReview: (entitlement, end) =>
    end === null
      ? `**${entitlement}** の付与（無期限）を取り消しますか？`
      : `**${entitlement}** の付与（${end} まで）を取り消しますか？`,
  keepsAfter: (entitlement, end) =>
    end === null
      ? `購入により ${entitlement} は無期限で残ります。`
      : `購入により ${entitlement} は ${end} まで残ります。`,
  losesAccess: '顧客はすぐにアクセスを失います。',
  revoked: (entitlement) => `✅ ${entitlement} の付与を取り消しました。`,
  lines: {
    until: (end) => `${end} まで`,
    forever: '無期限',
    ended: (on) => `${on} に終了`,
    revoked: '取り消し済み',
    failed: '付与なし',
    pending: '未確認',
    awaiting: '承認待ち',
    declined: '却下',
    withdrawn: '取り下げ',
  },
  note: {
    granted: (entitlement, end) =>
      end === null
        ? `${entitlement} を無期限で付与しました。`
        : `${entitlement} を ${end} まで付与しました。`,
    kept: (entitlement, end) =>
      `${entitlement} の付与を求めました。RevenueCat は以前の期限を残しました: ${end}。`,
    notMade: (entitlement) => `${entitlement} は付与されませんでした。RevenueCat で実行されませんでした。`,
    asked: (entitlement, end) =>
      `${entitlement} を${end === null ? '無期限で' : ` ${end} まで`}付与する承認を求めています。別のメンバーがカードの付与の一覧で決定できます。`,
    declined: (entitlement) => `${entitlement} の付与を却下しました。`,
    revoked: (entitlement) => `${entitlement} の付与を取り消しました。`,
    reason: (reason) => `理由: ${reason}`,
    people: (asked, approved) => `申請: ${asked}、承認: ${approved}。`,
    askedBy: (name) => `申請: ${name}。`,
    reference: (reference) => `付与 ${reference}`,
  },
};
