import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { badRequest, notFound } from '../../errors.ts';
import { printResult } from '../../logger.ts';
import { subscriberJobs } from '../../subscribers/jobs.ts';
import type { AppContext } from '../../workspaces/app-context.ts';
import { COMMAND_LINE } from '../../workspaces/audit.ts';
import {
  type CommandContext,
  chooseProject,
  requireWorkspace,
  withCommandContext,
} from '../../workspaces/command-context.ts';
import { grantJobs } from '../jobs.ts';
import {
  changeBulkGrant,
  describeFailure,
  draftBulkGrant,
  leftOutText,
  parseCustomerList,
  startBulkGrant,
} from './bulk-grants.ts';
import { countErrors, listCustomers, readProgress } from './customers.ts';
import { type BulkGrant, readBulkGrant } from './repository.ts';
import { runBulkGrant } from './run.ts';

interface Options {
  readonly workspace: string;
  readonly project?: string;
  readonly file?: string;
  readonly entitlement?: string;
  readonly duration: string;
  readonly start: string;
  readonly reason?: string;
  readonly resume?: string;
  readonly undo?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = 10;
/** Options for new grants: an existing one has its own list, and `--dry-run` would not prevent a resume or undo. */
const NEW_GRANT_OPTIONS = ['dryRun', 'file', 'entitlement', 'duration', 'start', 'reason'];

/** `grant`: one grant for the customers of a file, with or without a running server. */
export function addGrantCommand(program: Command): void {
  program
    .command('grant')
    .description('grant an entitlement to the customers of a list, resume such a grant, or undo it')
    .requiredOption('--workspace <id>', 'Intercom workspace ID')
    .option('--project <id>', "connected project (its id here or RevenueCat's); needed with several")
    .option('--file <path>', 'app user IDs, one a line, or a CSV whose first column has them')
    .option('--entitlement <key>', 'lookup key or id of the entitlement')
    .option(
      '--duration <name>',
      'daily, weekly, two_week, monthly, three_month, six_month, yearly …',
      'monthly',
    )
    .option('--start <when>', 'after (what each customer has) or now', 'after')
    .option('--reason <text>', 'stored with every grant')
    .option('--dry-run', 'count the customers and show ten; grant nothing')
    .addOption(
      new Option('--resume <id>', 'continue a grant that was interrupted or paused').conflicts([
        'undo',
        ...NEW_GRANT_OPTIONS,
      ]),
    )
    .addOption(new Option('--undo <id>', 'remove what a grant has granted').conflicts(NEW_GRANT_OPTIONS))
    .option('--json', 'print the result as JSON')
    .action(async (options: Options) => {
      process.exitCode = await withCommandContext((context) => grant(context, options));
    });
}

async function grant(context: CommandContext, options: Options): Promise<number> {
  const app: AppContext = {
    ...context,
    revenueCat: (project, calls) => context.revenueCat(project, { priority: 'background', ...calls }),
  };
  await context.jobs.register({ ...subscriberJobs(app, AbortSignal.abort()), ...grantJobs(app) });
  const bulk = await chooseBulk(app, options);
  if (bulk.state === 'running' || bulk.state === 'undoing')
    await runBulkGrant(app, bulk, Number.POSITIVE_INFINITY);
  return report(app, bulk, options);
}

async function chooseBulk(app: AppContext, options: Options): Promise<BulkGrant> {
  const { workspace: workspaceId } = options;
  const id = options.resume ?? options.undo;
  if (id === undefined) return newBulk(app, options);
  const key = { workspaceId, bulkGrantId: id };
  const bulk = await readBulkGrant(app.database, key);
  if (!bulk) throw notFound(`Workspace ${workspaceId} has no grant ${id}`);
  const event = options.undo === undefined ? 'resume' : 'undo';
  return (await changeBulkGrant(app, bulk, { event, by: COMMAND_LINE })) ?? bulk;
}

async function newBulk(app: AppContext, options: Options): Promise<BulkGrant> {
  const project = await chooseProject(app, options);
  const workspace = await requireWorkspace(app, options.workspace);
  if (options.file === undefined) throw badRequest('Name the list of customers with --file');
  const { entitlement = '', duration, start, reason = '' } = options;
  const list = await readFile(options.file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw badRequest(`--file ${options.file} cannot be read: ${error.code}`);
  });
  if (list.includes('\0'))
    throw badRequest(`--file ${options.file} is not text in UTF-8: save it as CSV UTF-8`);
  const customers = parseCustomerList(list);
  const scope = { workspace, project, admin: COMMAND_LINE };
  const draft = await draftBulkGrant(app, scope, { entitlement, duration, start, reason, customers });
  if ('problem' in draft) throw badRequest(draft.problem);
  if (options.dryRun) return draft;
  const rules = { by: COMMAND_LINE, secondPersonAbove: workspace.settings.grants.bulkSecondPersonAbove };
  const started = (await startBulkGrant(app, draft, rules)) ?? draft;
  // Whoever interrupts it needs the id to resume it.
  (options.json ? process.stderr : process.stdout).write(`Grant ${started.bulkGrantId}\n`);
  return started;
}

/** Prints the result of a grant. @returns the exit code */
async function report(app: AppContext, key: BulkGrant, { json }: Options): Promise<number> {
  const bulk = (await readBulkGrant(app.database, key)) ?? key;
  const { total, byState } = await readProgress(app.database, bulk);
  const errors = await countErrors(app.database, bulk);
  const hasFailed = Object.keys(errors).length > 0;
  const isDraft = bulk.state === 'draft';
  const listed = isDraft ? await listCustomers(app.database, bulk, EXAMPLES) : [];
  const examples = listed.map(({ appUserId }) => appUserId);
  const result = {
    id: bulk.bulkGrantId,
    state: bulk.state,
    total,
    left_out: bulk.leftOut,
    ...byState,
    ...(hasFailed && { errors }),
    ...(isDraft && { examples }),
  };
  const lines = [
    stateText(bulk, total, byState),
    ...examples.map((id) => `  ${id}`),
    ...Object.entries(errors).map(([code, count]) => `  ${count} ${describeFailure(bulk, code)}`),
    leftOutText(bulk.leftOut),
  ];
  printResult(json, result, lines.filter(Boolean).join('\n'));
  const hasWorked = !hasFailed && ['awaiting_approval', 'done', 'undone'].includes(bulk.state);
  return isDraft || hasWorked ? 0 : 1;
}

function stateText({ state }: BulkGrant, total: number, byState: Readonly<Record<string, number>>): string {
  if (state === 'draft') return `Dry run: ${total} customers, such as:`;
  if (state === 'awaiting_approval')
    return `${total} customers: waits for the approval of a second person, under Settings › Grants › Grant to many.`;
  const counts = Object.entries(byState).map(([each, count]) => `${count} ${each.replace('_', ' ')}`);
  return `${state}: ${counts.join(', ')}`;
}
