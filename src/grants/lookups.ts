import type { Sql } from '../database/sql.ts';
import { readCatalog } from '../revenuecat/catalog-names.ts';
import { toMinor } from '../subscription/money.ts';
import type { Money } from '../subscription/types.ts';

export interface Entitlement {
  readonly id: string;
  readonly lookupKey: string;
  readonly displayName: string | null;
}

/** The project's entitlements by name, as last read from RevenueCat. */
export async function listEntitlements(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<Entitlement[]> {
  const catalog = await readCatalog(sql, workspaceId, projectId);
  const nameOf = ({ displayName, lookupKey }: Entitlement): string =>
    (displayName ?? lookupKey).toLowerCase();
  return catalog
    .filter(({ kind }) => kind === 'entitlement')
    .sort((a, b) => nameOf(a).localeCompare(nameOf(b)) || a.lookupKey.localeCompare(b.lookupKey));
}

/** What was paid in charges, in the currency paid, as events reported it. */
export async function readChargePrices(
  sql: Sql,
  of: {
    readonly workspaceId: string;
    readonly subscriberId: string;
    readonly transactionIds: readonly string[];
  },
): Promise<ReadonlyMap<string, Money>> {
  const rows = await sql.query<{ transaction_id: string; price: string; currency: string }>(
    `select transaction_id, fields->>'price_in_purchased_currency' as price,
            fields->>'currency' as currency
       from events
      where workspace_id = $1 and subscriber_id = $2 and transaction_id = any($3)
        and fields->>'currency' is not null
        and (fields->>'price_in_purchased_currency')::numeric > 0`,
    [of.workspaceId, of.subscriberId, of.transactionIds],
  );
  return new Map(
    rows.map(({ transaction_id, price, currency }) => [
      transaction_id,
      { amountMinor: toMinor(Number(price), currency), currency },
    ]),
  );
}

/** Events of some kinds since a time, to be matched with the actions that caused them. */
export async function listEventsSince(
  sql: Sql,
  of: { readonly workspaceId: string; readonly subscriberId: string; readonly kinds: readonly string[] },
  sinceMs: number,
): Promise<{ kind: string; atMs: number; productId: string | null }[]> {
  const rows = await sql.query<{ kind: string; event_at_ms: string; product_id: string | null }>(
    `select kind, event_at_ms, fields->>'product_id' as product_id from events
      where workspace_id = $1 and subscriber_id = $2 and kind = any($3) and event_at_ms >= $4
      order by event_at_ms`,
    [of.workspaceId, of.subscriberId, of.kinds, sinceMs],
  );
  return rows.map((row) => ({ kind: row.kind, atMs: Number(row.event_at_ms), productId: row.product_id }));
}
