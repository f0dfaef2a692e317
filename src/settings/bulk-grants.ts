import { stringify } from 'csv-stringify/sync';
import { z } from 'zod';
import { notFound } from '../errors.ts';
import { changeBulkGrant, draftBulkGrant, parseCustomerList, startBulkGrant } from '../grants/bulk.ts';
import {
  type BulkGrant,
  type BulkState,
  findCustomers,
  listBulkGrants,
  listCustomers,
  readBulkGrant,
  readProgress,
} from '../grants/bulk-repository.ts';
import { DURATIONS, isDuration, lengthInDays } from '../grants/durations.ts';
import { listEntitlements } from '../grants/lookups.ts';
import { checkLength, checkReason, checkTeammate } from '../grants/policy.ts';
import { listProjects } from '../workspaces/projects.ts';
import { DURATION_LABELS } from './messages.ts';
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

const EXAMPLES = 10;
const MAX_RESULTS = 100_000;

/** Who, where it is not a pasted list; the values are RevenueCat's `subscription_status`. */
const FILTERS: Readonly<Record<string, { label: string; statuses: readonly string[]; days?: true }>> = {
  active: { label: 'Active subscribers', statuses: ['active', 'intro', 'cancelled', 'grace_period'] },
  trial: { label: 'In a free trial', statuses: ['trial', 'cancelled_trial', 'grace_period_trial'] },
  payment_failed: { label: 'Payment failed', statuses: ['grace_period', 'grace_period_trial'] },
  expired: { label: 'Expired recently', statuses: ['expired', 'expired_promotional'], days: true },
  everyone: { label: 'Everyone who has or had something', statuses: [] },
};
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
    days: textField,
  }),
  async (request, values) => {
    const { context, workspace, session } = request;
    const { workspaceId } = workspace;
    const refusal = checkTeammate(workspace.settings.grants, session.admin.id);
    if (refusal) return problems({ '': 'The rules for grants do not allow you to grant.' });
    const project = await projectNamed(request, values.project);
    const entitlements = await listEntitlements(context.database, workspaceId, project.projectId);
    const entitlement = entitlements.find(({ id }) => id === values.entitlement);
    if (!entitlement) return problems({ entitlement: 'Choose an entitlement.' });
    const { duration, reason } = values;
    if (!isDuration(duration)) return problems({ duration: 'Choose a duration.' });
    const days = duration === 'lifetime' ? null : lengthInDays(duration);
    if (checkLength(workspace.settings.grants, days))
      return problems({ duration: 'This is longer than the rules for grants allow.' });
    if (checkReason(workspace.settings.grants, reason)) return problems({ reason: 'Give a reason.' });
    const pasted = parseCustomerList(values.customers);
    const filter = FILTERS[values.filter];
    if (pasted.length === 0 && !filter)
      return problems({ customers: 'Paste a list of app user IDs, or choose a filter.' });
    const ids =
      pasted.length > 0 || !filter
        ? pasted
        : await findCustomers(
            request.sql,
            { workspaceId, projectId: project.projectId },
            {
              statuses: filter.statuses,
              productId: values.product || null,
              lookupKey: values.holds || null,
              expiredWithinDays: filter.days ? Number(values.days) || DEFAULT_EXPIRED_DAYS : null,
            },
          );
    if (ids.length === 0) return problems({ filter: 'No customer matches.' });
    const bulk = await draftBulkGrant(
      context,
      {
        workspaceId,
        projectId: project.projectId,
        entitlementId: entitlement.id,
        lookupKey: entitlement.lookupKey,
        entitlementName: entitlement.displayName ?? entitlement.lookupKey,
        duration,
        start: values.start === 'now' ? 'now' : 'after',
        reason,
        admin: session.admin,
      },
      ids,
    );
    return done(`/grants/many?id=${bulk.bulkGrantId}`);
  },
);

async function projectNamed({ context, workspace }: PageRequest, projectId: string) {
  const projects = await listProjects(context.database, workspace.workspaceId);
  const project = projects.find((each) => each.projectId === projectId) ?? projects[0];
  if (!project) throw notFound('Connect a RevenueCat project first');
  return project;
}

async function bulkOf(request: PageRequest): Promise<BulkGrant> {
  const bulkGrantId = request.input('id');
  const { workspaceId } = request.workspace;
  const bulk = await readBulkGrant(request.context.database, { workspaceId, bulkGrantId });
  if (!bulk) throw notFound('Not found');
  return bulk;
}

const startForm: Form = form(z.object({ id: textField }), async (request) => {
  const bulk = await bulkOf(request);
  const { grants } = request.workspace.settings;
  if (checkTeammate(grants, request.session.admin.id))
    return problems({ '': 'The rules for grants do not allow you to grant.' });
  await startBulkGrant(request.context, bulk, {
    by: request.session.admin,
    secondPersonAbove: grants.bulkSecondPersonAbove,
  });
  return done(`/grants/many?id=${bulk.bulkGrantId}`);
});

const approveForm: Form = form(z.object({ id: textField }), async (request) => {
  const bulk = await bulkOf(request);
  const { admin } = request.session;
  if (bulk.admin.id === admin.id) return problems({ '': 'Another admin must approve what you requested.' });
  if (checkTeammate(request.workspace.settings.grants, admin.id))
    return problems({ '': 'The rules for grants do not allow you to grant.' });
  await changeBulkGrant(request.context, bulk, {
    from: ['awaiting_approval'],
    to: 'running',
    by: admin,
    isDecision: true,
  });
  return done(`/grants/many?id=${bulk.bulkGrantId}`);
});

function moveForm(from: readonly BulkState[], to: BulkState): Form {
  return form(z.object({ id: textField }), async (request) => {
    const bulk = await bulkOf(request);
    await changeBulkGrant(request.context, bulk, { from, to, by: request.session.admin });
    return done(`/grants/many?id=${bulk.bulkGrantId}`);
  });
}

/** Asks before everything that a grant granted is removed. */
export const undoBulkGrantPage = confirmationPage({
  path: '/grants/many/undo',
  title: 'Undo the grant',
  section: '/grants',
  async describe(request) {
    const bulk = await bulkOf(request);
    const { byState } = await readProgress(request.context.database, bulk);
    return {
      heading: `Undo ${bulk.entitlementName} for ${(byState.granted ?? 0).toLocaleString('en-US')} customers?`,
      effects: [
        'What this grant gave is removed in RevenueCat. Customers lose it immediately.',
        'Access that was granted before is granted again until its end; what customers bought stays.',
      ],
      button: 'Undo the grant',
      fields: { id: bulk.bulkGrantId },
      back: `/settings/grants/many?id=${bulk.bulkGrantId}`,
    };
  },
  async save(request) {
    const bulk = await bulkOf(request);
    await changeBulkGrant(request.context, bulk, {
      from: ['done', 'paused', 'running'],
      to: 'undoing',
      by: request.session.admin,
    });
    return done(`/grants/many?id=${bulk.bulkGrantId}`);
  },
});

async function describeBulk(request: PageRequest, bulk: BulkGrant) {
  const { total, byState, perMinute } = await readProgress(request.context.database, bulk);
  const isUndo = bulk.state === 'undoing' || bulk.state === 'undone';
  const left = isUndo ? (byState.granted ?? 0) : (byState.pending ?? 0);
  return {
    id: bulk.bulkGrantId,
    state: bulk.state,
    entitlement: bulk.entitlementName,
    duration: DURATION_LABELS[bulk.duration],
    start: bulk.start,
    reason: bulk.reason,
    by: bulk.admin.name || bulk.admin.id,
    approvedBy: bulk.decidedBy && (bulk.decidedBy.name || bulk.decidedBy.id),
    isOwn: bulk.admin.id === request.session.admin.id,
    createdAt: bulk.createdAt,
    total,
    counts: Object.entries(byState).map(([state, count]) => [state.replace('_', ' '), count] as const),
    percent: total === 0 ? 100 : Math.floor(((total - left) / total) * 100),
    perMinute,
    minutesLeft: perMinute === 0 ? null : Math.ceil(left / perMinute),
  };
}

/** Settings › Grants › Grant to many. */
export const bulkGrantsPage: Page = {
  path: '/grants/many',
  title: 'Grant to many',
  section: '/grants',
  view: 'bulk-grants',
  async load(request) {
    const { workspaceId, settings } = request.workspace;
    const { database } = request.context;
    const projects = await listProjects(database, workspaceId);
    const entitlements = await Promise.all(
      projects.map((project) => listEntitlements(database, workspaceId, project.projectId)),
    );
    const chosen = request.input('id') === '' ? null : await bulkOf(request);
    const list = await listBulkGrants(database, workspaceId);
    return {
      projects: projects.map(({ projectId, name }) => [projectId, name] as const),
      entitlements: entitlements
        .flat()
        .map(({ id, displayName, lookupKey }) => [id, displayName ?? lookupKey] as const),
      durations: DURATIONS.map((duration) => [duration, DURATION_LABELS[duration]] as const),
      filters: Object.entries(FILTERS).map(([name, { label }]) => [name, label] as const),
      secondPersonAbove: settings.grants.bulkSecondPersonAbove,
      bulk: chosen && (await describeBulk(request, chosen)),
      examples: chosen
        ? (await listCustomers(database, chosen, EXAMPLES)).map(({ appUserId }) => appUserId)
        : [],
      list: await Promise.all(list.map((bulk) => describeBulk(request, bulk))),
    };
  },
  forms: {
    '': draftForm,
    '/start': startForm,
    '/approve': approveForm,
    '/pause': moveForm(['running'], 'paused'),
    '/resume': moveForm(['paused'], 'running'),
  },
  downloads: {
    '/results.csv': async (request) => {
      const bulk = await bulkOf(request);
      const rows = await listCustomers(request.context.database, bulk, MAX_RESULTS);
      return {
        name: `grant-${bulk.bulkGrantId}.csv`,
        type: 'text/csv',
        body: stringify(
          rows.map(({ appUserId, state, error }) => [appUserId, state, error ?? '']),
          { header: true, columns: ['app_user_id', 'result', 'error'], escape_formulas: true },
        ),
      };
    },
  },
};
