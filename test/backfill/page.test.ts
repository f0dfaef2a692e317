import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import type { ImportRef } from '../../src/backfill/repository.ts';
import { readLatestImport } from '../../src/backfill/repository.ts';
import { runImport } from '../../src/backfill/run.ts';
import { connectProject } from '../../src/workspaces/project-connection.ts';
import { axeFindings } from '../support/accessibility.ts';
import { installApp, sharedBrowser } from '../support/browser.ts';
import { createSite, csrfIn, type Site } from '../workspaces/support.ts';

const WORKSPACE = 'abc123';

describe('the import page', () => {
  let site: Site;
  let projectId: string;
  let browser: Browser | null = null;

  before(async () => {
    site = await createSite({ listen: true });
    const project = site.revenueCat.addProject({ name: 'Shop' });
    site.revenueCat.state.limitsPerMinute.customer = 100_000;
    for (let index = 0; index < 150; index += 1)
      site.revenueCat.addCustomer(project.id, { id: `user-${index}`, attributes: {} });
    const admin = await site.signedIn(WORKSPACE);
    await admin.get('/settings').expect(200);
    const connection = await connectProject(
      { database: site.db.database, secrets: site.app.secrets, publicUrl: site.url },
      {
        workspaceId: WORKSPACE,
        revenueCatProjectId: project.id,
        apiKey: site.revenueCat.issueKey(project.id),
        name: 'Shop',
      },
    );
    projectId = connection.id;
  });
  after(async () => {
    await browser?.close();
    await site.close();
  });

  const latest = () => readLatestImport(site.db.database, WORKSPACE, projectId);

  /** Runs the job that the page has queued, as a worker does. */
  function work(until = new AbortController().signal): Promise<string> {
    const job = site.jobs.findLast(({ name }) => name === 'backfill.run');
    assert.ok(job, 'the import is queued for the workers');
    return runImport(site.app, job.data as ImportRef, { signal: until });
  }

  it('works without scripts: start, pause, resume, cancel, and nothing without the form token', async () => {
    const admin = await site.signedIn(WORKSPACE);
    const page = await admin.get('/settings/import').expect(200);
    assert.match(page.text, /Not imported yet/);
    const form = (fields: Record<string, string> = {}) => ({
      _csrf: csrfIn(page.text),
      project: projectId,
      ...fields,
    });
    const post = (step: string, fields: Record<string, string>) =>
      admin.post(`/settings/import/${step}`).type('form').send(fields);

    await post('start', { project: projectId }).expect(403);
    await post('start', form({ project: 'abc123-nobody' })).expect(404);
    for (const since of ['soon', '2999-01-01']) {
      const wrong = await post('start', form({ events_since: since })).expect(422);
      assert.match(wrong.text, /Choose a day/);
    }
    assert.equal(await latest(), null);

    await post('start', form({ events_since: '2025-10-01' })).expect(303);
    assert.equal((await latest())?.eventsSinceMs, Date.UTC(2025, 9, 1));
    const conflict = await post('start', form({ events_since: '2025-09-01' })).expect(422);
    assert.match(conflict.text, /running with another choice of events/);
    await post('pause', form()).expect(303);
    assert.equal((await latest())?.state, 'paused');
    assert.match((await admin.get('/settings/import')).text, /Paused: 0 customers imported/);
    assert.doesNotMatch((await admin.get('/settings/import')).text, /the import continues/);
    await post('start', form()).expect(303);
    assert.equal((await latest())?.state, 'running');
    await post('cancel', form()).expect(422);
    await post('cancel', form({ confirmed: 'yes' })).expect(303);
    assert.equal((await latest())?.state, 'cancelled');
    assert.equal(await work(), 'cancelled');
    assert.match((await admin.get('/settings/import')).text, /Cancelled on/);

    const [entry] = await site.db.database.query<{ actions: string[] }>(
      `select array_agg(action order by audit_id) as actions from audit_log where action like 'import_%'`,
    );
    assert.deepEqual(entry?.actions, [
      'import_started',
      'import_paused',
      'import_resumed',
      'import_cancelled',
    ]);
  });

  it('is not visible to another workspace', async () => {
    const otherAdmin = await site.signedIn('other1');
    const page = await otherAdmin.get('/settings/import').expect(200);
    assert.doesNotMatch(page.text, /Shop/);
    const csrf = csrfIn((await otherAdmin.get('/settings/contacts')).text);
    await otherAdmin
      .post('/settings/import/start')
      .type('form')
      .send({ _csrf: csrf, project: projectId })
      .expect(404);
    await otherAdmin.get('/settings/import/status').query({ project: projectId }).expect(404);
  });

  it('shows an import live, by keyboard and to a screen reader', async () => {
    browser = await sharedBrowser();
    const page = await browser.newPage();
    page.setDefaultTimeout(15_000);
    await installApp(page, site.url, WORKSPACE);
    await page.goto(`${site.url}/settings/revenuecat`);
    await page.getByRole('link', { name: 'Import existing customers' }).click();
    await page.getByRole('button', { name: 'Import again' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('[data-line]').filter({ hasText: 'imported' }).waitFor();
    await page.getByRole('progressbar', { name: 'Customers imported' }).waitFor();
    // Screen readers announce the progress, but not every change of the line.
    await page.getByRole('status').filter({ hasText: 'imported' }).waitFor();
    assert.equal(await page.locator('[data-line]:not([role=status])').count(), 1);

    // A part of the work, then the rest: the page updates without a click.
    site.revenueCat.faults.add({ latencyMs: 120, pathPrefix: '/v2' });
    const some = new AbortController();
    const working = work(some.signal);
    await page
      .locator('[data-line]')
      .filter({ hasText: /of 150 customers \(/ })
      .waitFor();
    assert.deepEqual(await axeFindings(page), []);
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
    site.revenueCat.faults.clear();
    assert.equal(await working, 'done');
    await page.getByText('150 customers imported, 150 of them new here.').waitFor();
    assert.deepEqual(await axeFindings(page), []);
  });
});
