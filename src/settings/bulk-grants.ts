import { z } from 'zod';
import { notFound } from '../errors.ts';
import { nameOf } from '../grants/action.ts';
import {
  changeBulkGrant,
  checkBulkRules,
  checkCount,
  describeFailure,
  draftBulkGrant,
  leftOutText,
  listGrantable,
  parseCustomerList,
  startBulkGrant,
} from '../grants/bulk/bulk-grants.ts';
import { countErrors, listCustomers, readProgress } from '../grants/bulk/customers.ts';
import { type BulkGrant, listBulkGrants, readBulkGrant } from '../grants/bulk/repository.ts';
import { DURATIONS } from '../grants/durations.ts';
import { checkTeammate } from '../grants/policy.ts';
import { formatCount, plural } from '../text.ts';
import { COMMAND_LINE } from '../workspaces/audit.ts';
import { listProjects } from '../workspaces/projects.ts';
import { audit } from './change-settings.ts';
import { csvFile } from './csv.ts';
import {
  confirmationPage,
  done,
  type Form,
  form,
  type Page,
  type PageRequest,
  problems,
  textField,
} from './page.ts';
import { projectOf } from './revenuecat.ts';
import texts from './texts.json' with { type: 'json' };

const EXAMPLES = 10;
const MAX_RESULTS = 100_000;
/** For 100,000 anonymous app user IDs, percent-encoded. */
const MAX_FORM_BYTES = 8 * 1024 * 1024;

/** Groups to choose instead of pasting a list of customers. Statuses are RevenueCat's `subscription_status`. */
const FILTERS = new Map<string, { label: string; statuses: readonly string[]; days?: true }>([
  ['active', { label: 'Active subscribers', statuses: ['active', 'intro', 'cancelled', 'grace_period'] }],
  ['trial', { label: 'In a free trial', statuses: ['trial', 'cancelled_trial', 'grace_period_trial'] }],
  ['payment_failed', { label: 'Payment failed', statuses: ['grace_period', 'grace_period_trial'] }],
  ['expired', { label: 'Expired recently', statuses: ['expired', 'expired_promotional'], days: true }],
  ['everyone', { label: 'Everyone who has or had something', statuses: [] }],
]);
const DEFAULT_EXPIRED_DAYS = 30;

const draftForm = form(
  z.object({
    project: textField,
    entitlement: textField,
    duration: textField,
    start: textField,
    reason: textField,
    customers: textField,
    filter: textField,
    product: textField,
    holds: textField,
    days: textField.refine(
      (days) => days === '' || /^[1-9]\d{0,4}$/.test(days),
      `Enter a whole number of days, or leave it empty for ${DEFAULT_EXPIRED_DAYS}.`,
    ),
  }),
  async (request, values) => {
    const { app, workspace, workspaceId, session } = request;
    if (!mayGrant(request)) return problems({ '': NOT_ALLOWED });
    const [first] = await listProjects(app.database, workspaceId);
    if (!first) throw notFound('Connect a RevenueCat project first');
    const project = values.project === '' ? first : await projectOf(request);
    const pasted = parseCustomerList(values.customers);
    // Ignoring one of the two could grant to the wrong customers.
    if (pasted.length > 0 && (values.filter || values.product || values.holds))
      return problems({
        customers:
          'Paste a list or choose a group, not both. The product and the entitlement below narrow a group only.',
      });
    const filter = FILTERS.get(values.filter);
    if (!filter && pasted.length === 0)
      return problems({ customers: 'Paste a list of app user IDs, or choose a group of customers.' });
    const group = filter && {
      statuses: filter.statuses,
      productId: values.product || null,
      lookupKey: values.holds || null,
      expiredWithinDays: filter.days ? Number(values.days) || DEFAULT_EXPIRED_DAYS : null,
    };
    const place = { workspace, project, admin: session.admin };
    const start = values.start || 'after';
    const draft = await draftBulkGrant(app, place, { ...values, start, customers: group ?? pasted });
    if ('problem' in draft) return problems({ [draft.field]: draft.problem });
    return done(`/grants/many?id=${draft.bulkGrantId}`);
  },
);

async function bulkOf({ app, workspaceId, input }: PageRequest): Promise<BulkGrant> {
  const bulk = await readBulkGrant(app.database, { workspaceId, bulkGrantId: input('id') });
  if (!bulk) throw notFound('This workspace has no such grant');
  return bulk;
}

const NOT_ALLOWED = 'The rules for grants do not allow you to grant.';
const REQUESTER_NOT_ALLOWED =
  'The rules for grants no longer allow the teammate who requested this to grant. Decline the request.';

const CHANGED_BEFORE = 'Nothing was changed: it was in another state already, as shown below.';

type Button = 'start' | 'approve' | 'decline' | 'pause' | 'resume';

const buttonForm = (button: Button): Form =>
  form(z.object({ id: textField }), async (request) => {
    const { app, workspace, session } = request;
    const bulk = await bulkOf(request);
    const problem = problemWith(button, request, bulk);
    if (problem !== null) return problems({ '': problem });
    const secondPersonAbove = workspace.settings.grants.bulkSecondPersonAbove;
    const event = button === 'decline' && isOwn(request, bulk) ? 'withdraw' : button;
    const by = session.admin;
    const changed = await (event === 'start'
      ? startBulkGrant(app, bulk, { by, secondPersonAbove })
      : changeBulkGrant(app, bulk, { event, by }));
    return changed ? done(`/grants/many?id=${bulk.bulkGrantId}`) : problems({ '': CHANGED_BEFORE });
  });

/** Why this admin cannot press a button; `null`: they can. */
function problemWith(button: Button, request: PageRequest, bulk: BulkGrant): string | null {
  const isRequester = isOwn(request, bulk);
  if (button === 'pause' || (button === 'decline' && isRequester)) return null;
  if (button === 'approve' && isRequester) return 'Another admin must approve what you requested.';
  if (!mayGrant(request)) return NOT_ALLOWED;
  if (button === 'decline' || button === 'resume') return null;
  const { id: requesterId } = bulk.admin;
  if (button === 'approve' && requesterId !== COMMAND_LINE.id && !mayGrant(request, requesterId))
    return REQUESTER_NOT_ALLOWED;
  // The rules may have changed since the draft was made.
  return checkBulkRules(request.workspace.settings.grants, bulk)?.problem ?? null;
}

function mayGrant({ workspace, session }: PageRequest, adminId = session.admin.id): boolean {
  return checkTeammate(workspace.settings.grants, adminId) === null;
}

const isOwn = ({ session }: PageRequest, bulk: BulkGrant): boolean => bulk.admin.id === session.admin.id;

export const undoBulkGrantPage = confirmationPage({
  path: '/grants/many/undo',
  title: 'Undo the grant',
  async find(request) {
    const bulk = await bulkOf(request);
    const { byState } = await readProgress(request.app.database, bulk);
    return { ...bulk, count: (byState.granted ?? 0) + (byState.undo_failed ?? 0) };
  },
  describe: ({ count, ...bulk }) => ({
    heading: `Undo ${bulk.entitlementName} for ${plural(count, 'customer')}?`,
    effects: [
      'What this grant gave is removed in RevenueCat. Customers lose it immediately.',
      'Access that was granted before is granted again until its end; what customers bought stays.',
      'Customers who were granted more here since keep everything: undo the later grant to many first, or remove it on their cards.',
    ],
    button: 'Undo the grant',
    fields: { id: bulk.bulkGrantId },
    back: `/settings/grants/many?id=${bulk.bulkGrantId}`,
  }),
  async save(request, bulk) {
    // Removing a grant needs the right to grant, as it does on a card.
    if (!mayGrant(request)) return problems({ '': NOT_ALLOWED });
    await changeBulkGrant(request.app, bulk, { event: 'undo', by: request.session.admin });
    return done(`/grants/many?id=${bulk.bulkGrantId}`);
  },
});

async function describeBulk(request: PageRequest, bulk: BulkGrant) {
  const { total, byState, perMinute, waiting } = await readProgress(request.app.database, bulk);
  const isUndo = bulk.state === 'undoing' || bulk.state === 'undone';
  const left = isUndo ? (byState.granted ?? 0) : (byState.pending ?? 0);
  const group = bulk.state === 'choosing' ? bulk.customerGroup : null;
  return {
    ...bulk,
    id: bulk.bulkGrantId,
    duration: texts.durations[bulk.duration],
    by: nameOf(bulk.admin),
    decidedBy: bulk.decidedBy && nameOf(bulk.decidedBy),
    isOwn: isOwn(request, bulk),
    total,
    problem: bulk.state === 'draft' ? checkCount(total) : null,
    leftOut: leftOutText(bulk.leftOut),
    counts: Object.entries(byState).map(([state, count]) => [state.replace('_', ' '), count] as const),
    mayUndo:
      ['running', 'paused', 'done'].includes(bulk.state) ||
      (bulk.state === 'undone' && byState.undo_failed !== undefined),
    percent: group ? percentOf(group.checked, group.total) : percentOf(total - left, total),
    progress: group ? choosingLine(group) : `${waitingText(waiting)}${progressLine(left, perMinute)}`,
  };
}

function percentOf(part: number, whole: number): number {
  return part < whole ? Math.floor((part / whole) * 100) : 100;
}

function choosingLine({ checked, total, chosen }: NonNullable<BulkGrant['customerGroup']>): string {
  const [done, all, found] = [checked, Math.max(checked, total), chosen].map(formatCount);
  return `Checked ${done} of ${all} customers, ${found} of them chosen.`;
}

function waitingText(count: number): string {
  if (count === 0) return '';
  const customers = plural(count, 'customer waits', 'customers wait');
  return `RevenueCat is unavailable or its rate limit is reached: ${customers} and will be tried again automatically. `;
}

function progressLine(left: number, perMinute: number): string {
  const rate = `${formatCount(perMinute)} customers in the last minute`;
  if (perMinute === 0) return `${rate}.`;
  return `${rate}, about ${plural(Math.ceil(left / perMinute), 'minute')} left.`;
}

/** The grant that is named in the page's URL, if any. */
async function describeChosen(request: PageRequest) {
  if (request.input('id') === '') return { bulk: null, failures: [], examples: [] };
  const { database } = request.app;
  const bulk = await bulkOf(request);
  const errors = Object.entries(await countErrors(database, bulk));
  const examples = await listCustomers(database, bulk, EXAMPLES);
  return {
    bulk: await describeBulk(request, bulk),
    failures: errors.map(([code, count]) => [describeFailure(bulk, code), count] as const),
    examples: examples.map(({ appUserId }) => appUserId),
  };
}

export const bulkGrantsPage: Page = {
  path: '/grants/many',
  title: 'Grant to many',
  view: 'bulk-grants',
  async load(request) {
    const { app, workspaceId, workspace } = request;
    const { database } = app;
    const projects = await listProjects(database, workspaceId);
    const entitlements = await Promise.all(projects.map((project) => listGrantable(app, project)));
    return {
      projects: projects.map(({ projectId, name }) => [projectId, name] as const),
      // Two projects may each have an entitlement called "Pro".
      entitlements: projects.flatMap((project, index) =>
        (entitlements[index] ?? []).map(({ id, displayName, lookupKey }) => {
          const name = displayName ?? lookupKey;
          return [id, projects.length > 1 ? `${name} (${project.name})` : name] as const;
        }),
      ),
      durations: DURATIONS.map((duration) => [duration, texts.durations[duration]] as const),
      filters: Array.from(FILTERS, ([name, { label }]) => [name, label] as const),
      secondPersonAbove: workspace.settings.grants.bulkSecondPersonAbove,
      ...(await describeChosen(request)),
      list: await listBulkGrants(database, workspaceId),
    };
  },
  async status(request) {
    const { state, percent, progress } = await describeBulk(request, await bulkOf(request));
    return { state, percent, line: progress };
  },
  maxFormBytes: MAX_FORM_BYTES,
  forms: {
    '': draftForm,
    '/start': buttonForm('start'),
    '/approve': buttonForm('approve'),
    '/decline': buttonForm('decline'),
    '/pause': buttonForm('pause'),
    '/resume': buttonForm('resume'),
  },
  downloads: {
    '/results.csv': async (request) => {
      const bulk = await bulkOf(request);
      const customers = await listCustomers(request.app.database, bulk, MAX_RESULTS);
      await audit(request, 'grant_results_exported', { count: customers.length });
      return csvFile(`grant-${bulk.bulkGrantId}.csv`, customers, {
        app_user_id: ({ appUserId }) => appUserId,
        result: ({ state }) => state,
        error: ({ error }) => error ?? '',
      });
    },
  },
};
