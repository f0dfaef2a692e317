import { storeText } from '../../i18n/sentences.ts';
import {
  button,
  type Component,
  choice,
  clip,
  type InboxCanvas,
  option,
  type Part,
  table,
  text,
} from '../../intercom/canvas.ts';
import type { LivePurchase } from '../../revenuecat/store-actions.ts';
import { APPLE_REASON_CODES, findLive, isApple, maxExtensionDays, refundsCharges } from '../action-kinds.ts';
import type { ActionView } from '../context.ts';
import { findRefusal } from '../policy.ts';
import { findPurchase, listCharges, readOwned, type StoreForm, targetOf } from '../store-rules.ts';
import { obstacleText, reasonField, refusedPage } from './format.ts';
import { purchaseName } from './subscription.ts';

const MAX_CHARGES = 10;

/** The form of an action on one subscription or purchase. */
export async function storeForm(view: ActionView, form: StoreForm, problem?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  const { kind } = form;
  const refusal = await findRefusal(view, { kind, details: { of: targetOf(view, form) } });
  if (refusal) return refusedPage(view, kind, refusal);
  const fields = kind === 'transfer' ? transferFields(view, form) : await purchaseFields(view, form);
  if (fields === null) return view.page([text(t('action.state.notInRevenueCat'), 'muted')]);
  if (typeof fields === 'string')
    return tryAgainPage(view, form, {
      problem: obstacleText(view, kind, { kind: 'failed', code: fields }),
      id: `${kind}:${form.subscription}`,
    });
  return view.page(
    [
      text(t(`action.title.${kind}`), 'header', true),
      problem !== undefined && text(problem, 'error'),
      fields,
      reasonField(view, kind, { value: form.reason }),
      button('action.review', t('grant.button.review'), 'primary'),
    ],
    { actionForm: { kind, subscription: form.subscription } },
  );
}

function transferFields({ messages: { t } }: ActionView, form: StoreForm): Part[] {
  return [
    text(t('action.effect.transferForm'), 'muted'),
    {
      type: 'input',
      id: 'transfer.target',
      label: t('action.label.target'),
      ...(form.target ? { value: clip(form.target, 200) } : {}),
    },
    {
      type: 'input',
      id: 'transfer.order',
      label: t('action.label.order'),
      placeholder: 'GPA.1234-5678-9012-34567',
      ...(form.order ? { value: clip(form.order, 100) } : {}),
    },
  ];
}

/** RevenueCat was not read. What was typed is kept for the next try. */
export function tryAgainPage(
  { messages: { t }, page }: ActionView,
  form: StoreForm,
  { problem, id }: { readonly problem: string; readonly id: string },
): InboxCanvas {
  return page(
    [
      text(t(`action.title.${form.kind}`), 'header', true),
      text(problem, 'error'),
      button(id, t('grant.button.tryAgain'), 'secondary'),
    ],
    { actionForm: form },
  );
}

/** `null`: RevenueCat does not have the purchase; a code: it was not read, or has nothing to refund. */
async function purchaseFields(view: ActionView, form: StoreForm): Promise<Part[] | string | null> {
  const { messages } = view;
  const { t } = messages;
  const subscription = findPurchase(view, form.subscription);
  const owned = await readOwned(view);
  if (typeof owned === 'string') return owned;
  const own = subscription && findLive(subscription, owned.purchases);
  if (!subscription || !own) return null;
  const rows = table([
    [t('action.label.product'), purchaseName(view, subscription)],
    [t('action.label.store'), storeText(messages, own.store)],
  ]);
  if (form.kind === 'extend') return [rows, ...extensionFields(view, form, own)];
  if (form.kind !== 'refund' || !refundsCharges(own)) return rows;
  const charges = await listCharges(view, own);
  if (typeof charges === 'string') return charges;
  if (charges.length === 0) return 'no_charges';
  const options = charges
    .slice(0, MAX_CHARGES)
    .map(({ id, purchasedAtMs, price }) =>
      option(
        id,
        [messages.date(purchasedAtMs), price && messages.money(price), id].filter(Boolean).join(' · '),
      ),
    );
  return [
    rows,
    choice({
      id: 'action.transaction',
      label: t('action.label.transaction'),
      options,
      value: form.transaction ?? charges[0]?.id,
    }),
  ];
}

function extensionFields({ messages: { t } }: ActionView, form: StoreForm, own: LivePurchase): Part[] {
  const days: Component = {
    type: 'input',
    id: 'action.days',
    label: t('action.label.days', { max: maxExtensionDays(own.store) }),
    value: clip(form.days ?? '7', 10),
  };
  if (!isApple(own.store)) return [days];
  const code = choice({
    id: 'action.code',
    label: t('action.label.code'),
    options: APPLE_REASON_CODES.map((each) => option(String(each), t(`action.code.${each}`))),
    value: form.reasonCode ?? '1',
  });
  return [days, code];
}

/** The form as the request has it. */
export function submittedStoreForm({ request: { inputs }, formState }: ActionView): StoreForm | null {
  const { actionForm: form } = formState;
  if (!form) return null;
  const of = (name: string): string | undefined => inputs[name]?.trim();
  return {
    ...form,
    days: of('action.days') ?? form.days,
    reasonCode: of('action.code') ?? form.reasonCode,
    transaction: of('action.transaction') ?? form.transaction,
    target: of('transfer.target') ?? form.target,
    order: of('transfer.order') ?? form.order,
    reason: of('action.reason') ?? form.reason,
  };
}
