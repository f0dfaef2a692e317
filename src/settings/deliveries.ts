import { z } from 'zod';
import { readRejectedContacts, replayEvents, retryRejectedContacts } from '../delivery/replay.ts';
import { notFound } from '../errors.ts';
import { listFailedWebhooks } from '../ingestion/journal.ts';
import { EVENT_KINDS } from '../subscription/kinds.ts';
import { dashboardUrl, listProjects } from '../workspaces/projects.ts';
import { audit } from './change-settings.ts';
import {
  type AttemptRow,
  DELIVERY_FILTERS,
  type DeliveryFilter,
  type DeliveryRow,
  hasMoreDue,
  listAttempts,
  listDeliveries,
  readDelivery,
} from './deliveries-repository.ts';
import { KIND_TEXTS, labelOf, reasonText } from './messages.ts';
import { done, form, type Page, type PageRequest, textField } from './page.ts';
import texts from './texts.json' with { type: 'json' };

const PAGE_SIZE = 50;
const MAX_CUSTOMER_LENGTH = 1_500;
const MAX_UNREADABLE = 20;

export const deliveriesPage: Page = {
  path: '/deliveries',
  title: 'Deliveries',
  async load({ app, workspaceId, sql, input }) {
    const show = DELIVERY_FILTERS.find((filter) => filter === input('show')) ?? 'all';
    const customer = input('customer').slice(0, MAX_CUSTOMER_LENGTH);
    const kind = EVENT_KINDS.find((each) => each === input('kind')) ?? '';
    const before = /^\d{1,16}$/.test(input('before'))
      ? { atUs: input('before'), eventId: input('before_id') }
      : null;
    const rows = await listDeliveries(sql, workspaceId, {
      show,
      customer: customer || null,
      kind: kind || null,
      before,
      limit: PAGE_SIZE + 1,
    });
    // Items that concern all customers are only on the first page, and not in the results of a search.
    const isUnfiltered = customer === '' && kind === '' && before === null;
    const query = (filter: DeliveryFilter): URLSearchParams =>
      new URLSearchParams({ show: filter, ...(customer && { customer }), ...(kind && { kind }) });
    const last = rows.length > PAGE_SIZE ? rows[PAGE_SIZE - 1] : undefined;
    return {
      unreadable:
        isUnfiltered && (show === 'all' || show === 'failed')
          ? await listFailedWebhooks(app.database, workspaceId, MAX_UNREADABLE)
          : [],
      rejected: isUnfiltered && show === 'failed' ? await readRejectedContacts(sql, workspaceId) : null,
      isPartial:
        customer === '' && (show === 'pending' || show === 'waiting') && (await hasMoreDue(sql, workspaceId)),
      show,
      customer,
      kind,
      kinds: EVENT_KINDS.map((each) => [each, KIND_TEXTS[each].label]),
      filters: DELIVERY_FILTERS.map((filter) => ({
        filter,
        label: texts.deliveryFilters[filter],
        query: String(query(filter)),
      })),
      rows: rows.slice(0, PAGE_SIZE).map(describeRow),
      next: last
        ? `?${query(show)}&${new URLSearchParams({ before: last.receivedAtUs, before_id: last.eventId })}`
        : null,
    };
  },
  forms: {
    '/replay': form(z.object({ event: textField }), async (request, { event: eventId }) => {
      const { app, workspaceId } = request;
      const count =
        eventId === ''
          ? (await replayEvents(app.database, workspaceId, { failedOnly: true })) +
            (await retryRejectedContacts(app.database, workspaceId))
          : await replayEvents(app.database, workspaceId, { eventId, failedOnly: false });
      if (count > 0) await audit(request, 'deliveries_replayed', { count });
      return done('/deliveries', count > 0 ? 'replayed' : 'replayed_none');
    }),
  },
};

export const deliveryPage: Page = {
  path: '/deliveries/event',
  title: 'Delivery',
  view: 'delivery',
  async load(request) {
    const { workspaceId, sql, input } = request;
    const row = await readDelivery(sql, workspaceId, input('id'));
    if (!row) throw notFound('This workspace has no such event');
    const [attempts, projects] = await Promise.all([
      listAttempts(sql, workspaceId, row),
      listProjects(sql, workspaceId),
    ]);
    const project = projects.find(({ projectId }) => projectId === row.projectId);
    return {
      row: describeRow(row),
      contactUrl: row.contactId === null ? null : contactUrl(request, row.contactId),
      customerUrl: project && row.appUserId !== null ? dashboardUrl(project, row.appUserId) : null,
      attempts: attempts.map((attempt) => describeAttempt(attempt, row)),
    };
  },
};

/** The contact in Intercom, on the host of the workspace's region. */
function contactUrl({ app, workspace }: PageRequest, contactId: string): string {
  const { appUrl } = app.config.intercom;
  const host =
    workspace.region === 'US' || appUrl !== 'https://app.intercom.com'
      ? appUrl
      : `https://app.${workspace.region.toLowerCase()}.intercom.com`;
  return `${host}/a/apps/${encodeURIComponent(workspace.workspaceId)}/users/${encodeURIComponent(contactId)}`;
}

/** An admin can still send an event that was skipped for one of these reasons, such as after changing the settings. */
const CAN_BE_SENT: ReadonlySet<string | null> = new Set(['switched_off', 'sandbox', 'imported']);

function describeRow(row: DeliveryRow) {
  const kind = EVENT_KINDS.find((each) => each === row.kind);
  const isWaiting = row.state === 'pending' && row.reason === 'waiting_for_contact';
  return {
    ...row,
    label: kind ? KIND_TEXTS[kind].label : labelOf(row.type),
    tone: isWaiting ? 'waiting' : row.state,
    stateLabel: isWaiting ? 'Waiting' : texts.deliveryFilters[row.state],
    why: reasonText(row.state === 'skipped' ? (row.reason ?? 'timeline_only') : row.reason),
    link: `/settings/deliveries/event?${new URLSearchParams({ id: row.eventId })}`,
    canReplay:
      row.state === 'failed' ||
      row.state === 'delivered' ||
      (row.state === 'skipped' && CAN_BE_SENT.has(row.reason)),
  };
}

function describeAttempt(attempt: AttemptRow, row: DeliveryRow) {
  const isEvent = attempt.eventId !== null;
  const isOk = attempt.code === 'ok';
  return {
    ...attempt,
    outcome: `${isEvent ? 'The event' : 'The attributes'}: ${isOk ? 'accepted' : 'not accepted'}`,
    why: isOk ? '' : `${reasonText(attempt.code)}.`,
    call: isEvent ? 'POST /events' : `PUT /contacts/${row.contactId ?? '…'}`,
    request: JSON.stringify(attempt.request, null, 2),
    answer: attempt.answer === null ? null : indented(attempt.answer),
  };
}

/** Indents JSON. Any other text, and JSON that was cut off, is returned unchanged. */
function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
