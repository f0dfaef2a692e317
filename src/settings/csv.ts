import { stringify } from 'csv-stringify/sync';
import type { Download } from './page.ts';

/**
 * A file by RFC 4180. Without the byte order mark, Excel takes UTF-8 for another encoding.
 *
 * @param columns the text of each cell, by its column's name
 */
export function csvFile<Row>(
  name: string,
  rows: readonly Row[],
  columns: Readonly<Record<string, (row: Row) => string>>,
): Download {
  const cells = Object.values(columns);
  const body = stringify(
    rows.map((row) => cells.map((cell) => withoutFormula(cell(row)))),
    { bom: true, header: true, columns: Object.keys(columns), record_delimiter: 'windows' },
  );
  return { name, type: 'text/csv', body };
}

/**
 * A spreadsheet runs a cell that begins like a formula, also after white space or a separator, and in full-width
 * characters: an apostrophe makes it a text. csv-stringify's `escape_formulas` knows neither of these.
 */
function withoutFormula(value: string): string {
  return /^[\s;,"']*[=+\-@|%\t\r\n＝＋－＠]/.test(value) ? `'${value}` : value;
}
