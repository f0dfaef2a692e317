import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createFleet, createLoad, type Fleet } from '../delivery/fleet.ts';
import { until } from '../support/wait.ts';

describe('faults between the journal and the contact, with real processes', () => {
  let fleet: Fleet;
  before(async () => {
    fleet = await createFleet();
  });
  after(() => fleet?.close());

  const count = async (text: string): Promise<number> => {
    const [row] = await fleet.database().query<{ n: number }>(text);
    return row?.n ?? 0;
  };
  const unprocessed = () => count(`select count(*)::int as n from webhooks where processed_at is null`);

  test('kill -9 after the 200 and before the processing', async () => {
    const web = await fleet.start('web');
    const load = createLoad(fleet, 'unprocessed', 40, 5);
    await load.post(() => [web.url]);
    await web.kill();
    assert.equal(await unprocessed(), 200, 'everything was acknowledged, nothing processed');
    const worker = await fleet.start('worker');
    await load.verify(fleet);
    await worker.kill();
  });

  test('kill -9 in the middle of a backlog, with two processors at work', async () => {
    const web = await fleet.start('web');
    const load = createLoad(fleet, 'backlog', 400, 5);
    await load.post(() => [web.url]);
    const before = await unprocessed();
    assert.equal(before, 2_000);
    const [first] = [await fleet.start('worker')];
    await until(async () => (await unprocessed()) < before, 'the first batch', 30_000);
    await first?.kill();
    assert.ok((await unprocessed()) > 0, 'it was the middle');
    const others = [await fleet.start('worker'), await fleet.start('worker')];
    await load.verify(fleet);
    for (const process of [web, ...others]) await process.kill();
  });

  test('a poisoned webhook in the middle of a thousand', async () => {
    const web = await fleet.start('web');
    const load = createLoad(fleet, 'poisoned', 200, 5);
    await load.post(() => [web.url]);
    await fleet.database().query(
      `insert into webhooks (workspace_id, project_id, event_id, payload, sequence)
       overriding system value
       select workspace_id, project_id, 'poison', '{"event":[]}', sequence
         from webhooks where processed_at is null order by sequence offset 500 limit 1`,
    );
    const worker = await fleet.start('worker');
    await load.verify(fleet);
    assert.equal(await count(`select count(*)::int as n from webhooks where error is not null`), 1);
    for (const process of [web, worker]) await process.kill();
  });
});
