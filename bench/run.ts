import { parseArgs } from 'node:util';
import { measureCard } from './card.ts';
import { measureDeliver } from './deliver.ts';
import { killAll, stopOnSignals } from './processes.ts';
import { measureReceive } from './receive.ts';
import { printTable, type Row, writeResults } from './report.ts';
import { createSetting, type Setting } from './setting.ts';

/**
 * `npm run bench [-- --quick] [--only receive,card,deliver]`: one table, and the same as JSON. Every figure
 * stands beside a baseline of the same minutes; on a busy machine only the ratios say something.
 */
const MEASUREMENTS: Readonly<Record<string, (setting: Setting) => Promise<Row[]>>> = {
  receive: measureReceive,
  card: measureCard,
  deliver: measureDeliver,
};

const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
});
const wanted = values.only?.split(',') ?? Object.keys(MEASUREMENTS);
stopOnSignals();

const setting = await createSetting({ quick: values.quick });
const rows: Row[] = [];
try {
  for (const name of wanted) {
    const measure = MEASUREMENTS[name];
    if (!measure) throw new Error(`There is no row "${name}": ${Object.keys(MEASUREMENTS).join(', ')}`);
    process.stdout.write(`${name} …\n`);
    rows.push(...(await measure(setting)));
  }
} finally {
  killAll();
  await setting.close();
}
printTable(rows);
process.stdout.write(`\nWritten to ${await writeResults(rows, { quick: values.quick })}\n`);
