import type { Router } from 'express';
import { notFound } from '../errors.ts';
import { EVENT_KINDS } from '../subscription/types.ts';
import { auditChange } from './audit.ts';
import { field, pageSql, parameter, type SettingsContext, visitOf } from './context.ts';
import { sendPage } from './render.ts';
import {
  type AttemptRow,
  DELIVERY_FILTERS,
  type DeliveryFilter,
  type DeliveryRow,
  listAttempts,
  listDeliveries,
  readDelivery,
} from './store.ts';
import { KIND_WORDS, reasonInWords, typeInWords } from './words.ts';

const PAGE_SIZE = 50;

export function addDeliveryPages(router: Router, context: SettingsContext): void {
  router.get('/deliveries', async (req, res) => {
    const visit = await visitOf(context, res);
    const show = DELIVERY_FILTERS.find((filter) => filter === parameter(req, 'show')) ?? 'all';
    const before = readCursor(parameter(req, 'before'), parameter(req, 'before_id'));
    const customer = parameter(req, 'customer').trim().slice(0, 1_500);
    const kind = EVENT_KINDS.find((each) => each === parameter(req, 'kind')) ?? '';
    const rows = await listDeliveries(
      await pageSql(context),
      visit.workspace.workspaceId,
      { show, customer: customer || null, kind: kind || null },
      before,
      PAGE_SIZE + 1,
    );
    const query = (filter: DeliveryFilter): URLSearchParams =>
      new URLSearchParams({ show: filter, ...(customer && { customer }), ...(kind && { kind }) });
    const last = rows.length > PAGE_SIZE ? rows[PAGE_SIZE - 1] : undefined;
    sendPage(req, res, {
      view: 'deliveries',
      title: 'Deliveries',
      section: 'deliveries',
      visit,
      data: {
        show,
        customer,
        kind,
        kinds: EVENT_KINDS.map((each) => ({ kind: each, label: KIND_WORDS[each][0] })),
        query,
        filters: DELIVERY_FILTERS.map((filter) => ({ filter, label: FILTER_WORDS[filter] })),
        rows: rows.slice(0, PAGE_SIZE).map(deliveryLine),
        next: last
          ? `?${query(show)}&${new URLSearchParams({ before: last.receivedAtExact, before_id: last.eventId })}`
          : null,
      },
    });
  });

  router.get('/deliveries/event', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId } = visit.workspace;
    const eventId = parameter(req, 'id');
    const sql = await pageSql(context);
    const row = await readDelivery(sql, workspaceId, eventId);
    if (!row) throw notFound('This workspace has no such event');
    const attempts = await listAttempts(sql, workspaceId, row);
    sendPage(req, res, {
      view: 'delivery',
      title: 'Delivery',
      section: 'deliveries',
      visit,
      data: {
        row: deliveryLine(row),
        attempts: attempts.map((attempt) => attemptInWords(attempt, row)),
      },
    });
  });

  router.post('/deliveries/replay', async (req, res) => {
    const visit = await visitOf(context, res);
    const eventId = field(req, 'event');
    const count = await context.replay(
      visit.workspace.workspaceId,
      eventId === '' ? { failedOnly: true } : { eventId, failedOnly: false },
    );
    if (count > 0) await auditChange(context, visit, 'deliveries_replayed', { count });
    res.redirect(303, `/settings/deliveries?done=${count > 0 ? 'replayed' : 'replayed_none'}`);
  });
}

const FILTER_WORDS: Readonly<Record<DeliveryFilter, string>> = {
  all: 'All',
  failed: 'Failed',
  waiting: 'Waiting for a contact',
  pending: 'On their way',
  delivered: 'Delivered',
  skipped: 'Not sent',
};

const STATE_WORDS: Readonly<Record<DeliveryRow['state'], string>> = {
  pending: 'On its way',
  delivered: 'Delivered',
  failed: 'Failed',
  skipped: 'Not sent',
};

function deliveryLine(row: DeliveryRow): object {
  const kind = EVENT_KINDS.find((each) => each === row.kind);
  const isWaiting = row.state === 'pending' && row.reason === 'waiting_for_contact';
  return {
    ...row,
    label: kind ? KIND_WORDS[kind][0] : typeInWords(row.type),
    tone: isWaiting ? 'waiting' : row.state,
    stateLabel: isWaiting ? 'Waiting' : STATE_WORDS[row.state],
    why: reasonInWords(row.state === 'skipped' ? (row.reason ?? 'timeline_only') : row.reason),
    link: `/settings/deliveries/event?${new URLSearchParams({ id: row.eventId })}`,
    canReplay: row.state === 'failed' || row.state === 'delivered',
  };
}

function attemptInWords(attempt: AttemptRow, row: DeliveryRow): object {
  const isEvent = attempt.eventId !== null;
  const what = isEvent ? 'The event' : 'The attributes';
  return {
    ...attempt,
    verdict: attempt.code === 'ok' ? `${what}: accepted` : `${what}: not accepted`,
    why: attempt.code === 'ok' ? '' : `${reasonInWords(attempt.code)}.`,
    call: isEvent ? 'POST /events' : `PUT /contacts/${row.contactId ?? '…'}`,
    request: JSON.stringify(attempt.request, null, 2),
    answer: attempt.answer === null ? null : indented(attempt.answer),
  };
}

/** JSON as people read it; any other text, or one that was cut short, as it is. */
function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** `null`: from the newest. The moment is one that PostgreSQL printed. */
function readCursor(at: string, eventId: string): { at: string; eventId: string } | null {
  const isWritten = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d)?$/.test(at);
  // What only looks like a moment would be the database's to refuse.
  const isMoment = isWritten && !Number.isNaN(Date.parse(at.replace(/([+-]\d\d)$/, '$1:00')));
  return isMoment ? { at, eventId } : null;
}
