import { stringify } from 'csv-stringify/sync';
import { escapeFormula } from '../text.ts';
import type { Download } from './page.ts';

/**
 * A file that follows RFC 4180. Without the byte order mark, Excel does not recognize UTF-8.
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
      // Spreadsheets in some languages, and our own pasted lists, treat these as separators.
      quoted_match: /[;\t]/,
    },
  );
  return { name, type: 'text/csv', body };
}
