import { createHmac, randomUUID } from 'node:crypto';
import type { Sql } from '../database/sql.ts';
import { isAnonymous } from '../subscription/app-user-ids.ts';
import { canNameCustomer } from '../subscription/read-event.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import { newSecret, type SecretBox, secretLocation } from '../workspaces/secrets.ts';

export interface ErasureContext {
  readonly sql: Sql;
  readonly secrets: SecretBox;
  /** The result of {@link readErasureKey}, if the caller has read it already. */
  readonly erasureKey?: string | null;
}

const NONE: ReadonlySet<string> = new Set();

/** The encrypted key of the hashes; `null`: no customer of the project is erased. */
export async function readErasureKey(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
): Promise<string | null> {
  const [row] = await sql.query<{ erasure_key: string }>(
    `select erasure_key from workspaces
      where workspace_id = $1 and erasure_key is not null
        and exists (select 1 from erased_ids where workspace_id = $1 and project_id = $2)`,
    [workspaceId, projectId],
    'read-erasure-key',
  );
  return row?.erasure_key ?? null;
}

/**
 * Which of these app user ids belong to erased customers. Only keyed hashes of them are stored; the key is a random
 * secret of the workspace, so that rotating the encryption keys changes no hash.
 *
 * @throws AppError when the workspace's key cannot be decrypted: nothing may be stored then
 */
export async function findErasedIds(
  { sql, secrets, erasureKey }: ErasureContext,
  project: ProjectKey,
  appUserIds: readonly string[],
): Promise<ReadonlySet<string>> {
  if (appUserIds.length === 0) return NONE;
  const encrypted = erasureKey === undefined ? await readErasureKey(sql, project) : erasureKey;
  if (encrypted === null) return NONE;
  const { workspaceId, projectId } = project;
  const key = decryptKey(secrets, workspaceId, encrypted);
  const byHash = new Map(appUserIds.map((id) => [hashOf(key, id), id]));
  const rows = await sql.query<{ id_hash: string }>(
    `select id_hash from erased_ids where workspace_id = $1 and project_id = $2 and id_hash = any($3)`,
    [workspaceId, projectId, [...byHash.keys()]],
    'find-erased-ids',
  );
  return new Set(rows.flatMap((each) => byHash.get(each.id_hash) ?? []));
}

/** Removes erased ids. If only anonymous aliases are left, they belong to the erased customer and are removed, too. */
export function withoutErased(ids: readonly string[], erased: ReadonlySet<string>): string[] {
  const left = ids.filter((id) => !erased.has(id));
  return left.length < ids.length && left.every(isAnonymous) ? [] : left;
}

/**
 * An event's fields without these texts: list items and properties with one of them are left out. RevenueCat's own
 * fields stay as they are: anyone can take `TRANSFER` or a product's name as their id or name.
 */
export function fieldsWithout(
  fields: Readonly<Record<string, unknown>>,
  texts: ReadonlySet<string>,
): Record<string, unknown> {
  const parts = Object.entries(fields).map(([name, value]) =>
    canNameCustomer(name) ? withoutTexts({ [name]: value }, texts) : { [name]: value },
  );
  return Object.assign({}, ...parts);
}

function withoutTexts(value: unknown, texts: ReadonlySet<string>): unknown {
  const stays = (each: unknown): boolean => typeof each !== 'string' || !texts.has(each);
  if (Array.isArray(value)) return value.filter(stays).map((each) => withoutTexts(each, texts));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, each]) =>
      stays(each) && !texts.has(name) ? [[name, withoutTexts(each, texts)]] : [],
    ),
  );
}

/**
 * Records ids of customers as erased.
 *
 * @param sql the transaction that erases them and holds the locks of their projects
 */
export async function recordErased(
  { sql, secrets }: ErasureContext,
  workspaceId: string,
  erased: {
    readonly ids: readonly { projectId: string; appUserId: string; subscriberId: string }[];
    readonly by: object;
  },
): Promise<void> {
  const location = secretLocation.erasureKey(workspaceId);
  const [row] = await sql.query<{ erasure_key: string }>(
    `update workspaces set erasure_key = coalesce(erasure_key, $2) where workspace_id = $1 returning erasure_key`,
    [workspaceId, secrets.encrypt(newSecret(), location)],
  );
  if (!row) throw new Error('The workspace of the customer does not exist');
  const key = decryptKey(secrets, workspaceId, row.erasure_key);
  // One random id for each customer, so that all of their app user ids can be allowed again together.
  const customers = new Map(erased.ids.map(({ subscriberId }) => [subscriberId, randomUUID()]));
  await sql.query(
    `insert into erased_ids (workspace_id, project_id, id_hash, customer, erased_by)
     select $1, project_id, id_hash, customer, $2::jsonb
       from unnest($3::text[], $4::text[], $5::uuid[]) as t (project_id, id_hash, customer)
     on conflict do nothing`,
    [
      workspaceId,
      JSON.stringify(erased.by),
      erased.ids.map(({ projectId }) => projectId),
      erased.ids.map(({ appUserId }) => hashOf(key, appUserId)),
      erased.ids.map(({ subscriberId }) => customers.get(subscriberId)),
    ],
  );
}

/**
 * Lets a customer be stored again, in every project and under each of their ids.
 *
 * @returns number of ids that are allowed again
 */
export async function allowAgain(
  { sql, secrets }: ErasureContext,
  workspaceId: string,
  appUserId: string,
): Promise<number> {
  const [row] = await sql.query<{ erasure_key: string | null }>(
    `select erasure_key from workspaces where workspace_id = $1`,
    [workspaceId],
  );
  if (!row || row.erasure_key === null) return 0;
  const hash = hashOf(decryptKey(secrets, workspaceId, row.erasure_key), appUserId);
  const allowed = await sql.query(
    `delete from erased_ids
      where workspace_id = $1
        and customer in (select customer from erased_ids where workspace_id = $1 and id_hash = $2)
     returning 1`,
    [workspaceId, hash],
  );
  return allowed.length;
}

export async function countErased(sql: Sql, workspaceId: string): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    `select count(*)::integer as count from erased_ids where workspace_id = $1`,
    [workspaceId],
  );
  return row?.count ?? 0;
}

function hashOf(key: string, appUserId: string): string {
  return createHmac('sha256', key).update(appUserId).digest('base64url');
}

function decryptKey(secrets: SecretBox, workspaceId: string, encrypted: string): string {
  return secrets.decrypt(encrypted, secretLocation.erasureKey(workspaceId));
}
