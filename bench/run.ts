import { parseArgs } from 'node:util';
import { measureCard } from './card.ts';
import { measureLatency, measureQuota, measureThroughput } from './deliver.ts';
import { killAll, stopOnSignals } from './processes.ts';
import { measureReceive } from './receive.ts';
import { printTable, type Row, writeResults } from './report.ts';
import { createSetting, type Setting } from './setting.ts';

/**
 * `npm run bench [-- --quick] [--only receive,card,deliver]`: one table, and the same as JSON. `deliver` runs all rows
 * that begin with it. Every figure is compared with a baseline of the same minutes; on a busy machine only the ratios
 * are meaningful.
 */
const MEASUREMENTS: Readonly<Record<string, (setting: Setting) => Promise<Row[]>>> = {
  receive: measureReceive,
  card: measureCard,
  'deliver-latency': measureLatency,
  'deliver-quota': measureQuota,
  'deliver-throughput': measureThroughput,
};

const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
});
const prefixes = values.only?.split(',') ?? [''];
const wanted = Object.entries(MEASUREMENTS).filter(([name]) =>
  prefixes.some((prefix) => name.startsWith(prefix)),
);
if (wanted.length === 0) throw new Error(`Choose from: ${Object.keys(MEASUREMENTS).join(', ')}`);
stopOnSignals();

const setting = await createSetting({ quick: values.quick });
const rows: Row[] = [];
try {
  for (const [name, measure] of wanted) {
    process.stdout.write(`${name} …\n`);
    rows.push(...(await measure(setting)));
  }
} finally {
  killAll();
  await setting.close();
}
printTable(rows);
process.stdout.write(`\nWritten to ${await writeResults(rows, { quick: values.quick })}\n`);
