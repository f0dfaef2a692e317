import { stringify } from 'csv-stringify/sync';
import { escapeFormula } from '../text.ts';
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
    rows.map((row) => cells.map((cell) => escapeFormula(cell(row)))),
    {
      bom: true,
      header: true,
      columns: Object.keys(columns),
      record_delimiter: 'windows',
      // Some languages' spreadsheets, and our own lists, take these for separators.
      quoted_match: /[;\t]/,
    },
  );
  return { name, type: 'text/csv', body };
}
