import { EntitySchema, type EntitySchemaColumnOptions } from 'typeorm';

declare const VALUE: unique symbol;
/** A column, with the type of its values. */
type Column<T> = EntitySchemaColumnOptions & { readonly [VALUE]?: () => T };

export const text = <T extends string = string>(): Column<T> => ({ type: 'text' });
export const uuid = (): Column<string> => ({ type: 'uuid' });
export const boolean = (): Column<boolean> => ({ type: 'boolean' });
export const integer = (): Column<number> => ({ type: 'integer' });
export const timestamptz = (): Column<Date> => ({ type: 'timestamptz' });
export const jsonb = <T>(): Column<T> => ({ type: 'jsonb' });
/** Ids and times in ms fit into a number, but PostgreSQL's driver returns a bigint as a string. */
export const bigint = (): Column<number> => ({
  type: 'bigint',
  transformer: { to: (value: unknown) => value, from: (value: string | null) => value && Number(value) },
});
export const key = <T>(column: Column<T>): Column<T> => ({ ...column, primary: true });
export const nullable = <T>(column: Column<T>): Column<T | null> => ({ ...column, nullable: true });

type Columns = { readonly [property: string]: Column<unknown> };
type Row<C extends Columns> = { [P in keyof C]: C[P] extends Column<infer T> ? T : never };
export type RowOf<Entity> = Entity extends EntitySchema<infer R> ? R : never;

/** A table. Its columns have the name of the property in snake case. */
export function entity<C extends Columns>(tableName: string, columns: C): EntitySchema<Row<C>> {
  const named = Object.entries(columns).map(([property, options]) => [
    property,
    { name: columnOf(property), ...options },
  ]);
  return new EntitySchema<Row<C>>({ name: tableName, tableName, columns: Object.fromEntries(named) });
}

const columnOf = (property: string): string =>
  property.replace('revenueCat', 'revenuecat').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
