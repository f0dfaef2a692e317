import { listsOf, type Sql } from '../database/sql.ts';

/** One call to Intercom, for the delivery log. `code` is `ok` or a failure's code. */
export interface Attempt {
  readonly subscriberId: string;
  /** `null`: the call wrote the contact's attributes. */
  readonly eventId: string | null;
  readonly request: Readonly<Record<string, unknown>>;
  readonly status: number | null;
  readonly code: string;
  readonly message: string | null;
  /** The body of Intercom's response, cut short; `null`: it was empty, or none came. */
  readonly answer: string | null;
}

/** Those of erased subscribers are left out; the lock is what a foreign key would take. */
export async function recordAttempts(
  sql: Sql,
  workspaceId: string,
  attempts: readonly Attempt[],
): Promise<void> {
  await sql.query(
    `with stored as (
       select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2::uuid[])
        order by subscriber_id for key share)
     insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, status, code, message, answer)
     select $1, subscriber_id, event_id, request::json, status, code, message, answer
       from unnest($2::uuid[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[])
            as t (subscriber_id, event_id, status, code, message, answer, request)
      where subscriber_id in (select subscriber_id from stored)`,
    [
      workspaceId,
      ...listsOf(attempts, 'subscriberId', 'eventId', 'status', 'code', 'message', 'answer'),
      attempts.map(({ request }) => JSON.stringify(request)),
    ],
    'record-attempts',
  );
}
