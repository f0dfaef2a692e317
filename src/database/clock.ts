/**
 * The clock of the database as a row to join, `clock.at`: the one clock that all processes share. Citus refuses a
 * call of now() inside CASE and COALESCE of an UPDATE and in RETURNING, and takes a column. `offset 0` keeps
 * PostgreSQL from putting the call back into the column's place.
 */
export const CLOCK = `(select now() as at offset 0) as clock`;

/** As `CLOCK`, for transactions that take long: when the statement began, not its transaction. */
export const STATEMENT_CLOCK = `(select statement_timestamp() as at offset 0) as clock`;

/**
 * The same clock as one more list of an unnest. A row to join would change PostgreSQL's plan of the other joins.
 *
 * @param list one of the other lists, as SQL
 */
export function clocks(list: string): string {
  return `array_fill(now(), array[cardinality(${list})])`;
}
