import { MINUTE_MS } from '../time.ts';
import type { Database } from './sql.ts';

/** Secrets by what they are: each has its own encryption context. */
export type SecretKind = 'accessToken' | 'messengerSecret' | 'apiKey' | 'signingSecret' | 'erasureKey';

/** How the rows of a table belong to a subscriber, and what happens to them. */
interface CustomerRows {
  /** SQL condition for the rows of the subscribers `$2` in the workspace `$1`. */
  readonly where: string;
  /** When two subscribers are merged. `drop`: derived data of both, which is rebuilt. */
  readonly onMerge: 'move' | 'drop' | 'nothing';
  /** When the subscriber is erased. `anonymize`: the row stays as a record of the team, without the customer. */
  readonly onErase: 'delete' | 'anonymize';
  /** Whether the rows are part of what is stored about the customer, or only bookkeeping. */
  readonly isExported: boolean;
  /** For a table that lists customers who may not be stored: the column with their app user IDs. */
  readonly idColumn?: string;
}

interface Table {
  /** Whether each row belongs to a workspace, and is erased with it. */
  readonly isOfWorkspace: boolean;
  readonly customer: CustomerRows | null;
  /** Encrypted columns, which key rotation encrypts again. */
  readonly secrets: Readonly<Record<string, SecretKind>>;
}

const WORKSPACE: Table = { isOfWorkspace: true, customer: null, secrets: {} };
const SHARED: Table = { isOfWorkspace: false, customer: null, secrets: {} };

function customerTable(rows: Pick<CustomerRows, 'onMerge' | 'isExported'> & Partial<CustomerRows>): Table {
  return { ...WORKSPACE, customer: { where: 'subscriber_id = any($2::uuid[])', onErase: 'delete', ...rows } };
}

function listTable(idColumn: string): Table {
  const where = `${idColumn} in (select app_user_id from subscriber_ids
                                  where workspace_id = $1 and subscriber_id = any($2::uuid[]))`;
  return customerTable({ onMerge: 'nothing', isExported: false, where, idColumn });
}

/**
 * Every table with its place in erasing, exporting, merging and key rotation. A test compares it with the schema:
 * a table that is missing here would keep data that must be erased. Erasing follows this order, so tables whose
 * rows are found through other tables come first.
 */
export const TABLES: Readonly<Record<string, Table>> = {
  webhooks: customerTable({
    onMerge: 'nothing',
    isExported: true,
    where: `(project_id, event_id) in (select project_id, event_id from events
              where workspace_id = $1 and subscriber_id = any($2::uuid[]))`,
  }),
  import_customers: listTable('customer_id'),
  bulk_grant_customers: listTable('app_user_id'),
  subscriber_ids: customerTable({ onMerge: 'move', isExported: true }),
  events: customerTable({ onMerge: 'move', isExported: true }),
  event_deliveries: customerTable({ onMerge: 'move', isExported: true }),
  delivery_attempts: customerTable({ onMerge: 'move', isExported: true }),
  contact_links: customerTable({ onMerge: 'move', isExported: true }),
  actions: customerTable({ onMerge: 'move', isExported: true }),
  action_notes: customerTable({ onMerge: 'move', isExported: false }),
  audit_log: customerTable({ onMerge: 'move', isExported: true, onErase: 'anonymize' }),
  subscriber_summaries: customerTable({ onMerge: 'drop', isExported: false }),
  reconcile_marks: customerTable({ onMerge: 'drop', isExported: false }),
  subscribers: customerTable({ onMerge: 'nothing', isExported: true }),
  erased_ids: WORKSPACE,
  sessions: WORKSPACE,
  api_keys: WORKSPACE,
  notifications: WORKSPACE,
  call_budgets: WORKSPACE,
  revenuecat_budgets: WORKSPACE,
  imports: WORKSPACE,
  action_admins: WORKSPACE,
  bulk_grants: WORKSPACE,
  catalog: WORKSPACE,
  used_support_links: WORKSPACE,
  projects: { ...WORKSPACE, secrets: { api_key: 'apiKey', signing_secret: 'signingSecret' } },
  workspaces: {
    ...WORKSPACE,
    secrets: { access_token: 'accessToken', messenger_secret: 'messengerSecret', erasure_key: 'erasureKey' },
  },
  oauth_states: SHARED,
  workers: SHARED,
};

/** Tables with a workspace's data, in the order in which they are erased. */
export const WORKSPACE_TABLES = Object.keys(TABLES).filter((table) => TABLES[table]?.isOfWorkspace);

/** Tables with rows of customers, in the order in which they are erased. */
export const CUSTOMER_TABLES = Object.entries(TABLES).flatMap(([table, { customer }]) =>
  customer ? [{ table, ...customer }] : [],
);

/** Tables that list customers: the only ones that name a customer who is not stored. */
export const CUSTOMER_LIST_TABLES = CUSTOMER_TABLES.flatMap(({ table, idColumn }) =>
  idColumn === undefined ? [] : [{ table, idColumn }],
);

export const ENCRYPTED_COLUMNS = Object.entries(TABLES).flatMap(([table, { secrets }]) =>
  Object.entries(secrets).map(([column, kind]) => ({
    table,
    column,
    kind,
    /** The column that forms the table's key together with the workspace. */
    idColumn: table === 'workspaces' ? 'workspace_id' : 'project_id',
  })),
);

/**
 * Updates the planner's statistics. Autovacuum does it when a table has grown by a tenth. Until then the planner
 * expects a single row for a new workspace, takes any index, and reads the whole workspace for each key.
 */
export async function analyzeTables(database: Database): Promise<void> {
  const names = CUSTOMER_TABLES.map(({ table }) => table).join(', ');
  await database.transaction((sql) => sql.query(`analyze (skip_locked) ${names}`), {
    statementTimeoutMs: 10 * MINUTE_MS,
  });
}
