import type { Sql } from '../database/sql.ts';
import { AppError, answerOrError, mayPass } from '../errors.ts';
import { withoutNull } from '../intercom/data-attributes.ts';
import type { JobData, JobDefinitions, Jobs } from '../jobs/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { provisionWith } from '../workspaces/install.ts';
import { readWorkspace } from '../workspaces/repository.ts';
import { followMerge, readAttributesStatus, rewriteContactAttributes } from './repository.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'contact.clear': { workspaceId: string; contactId: string };
    'contact.follow-merge': { workspaceId: string; contactId: string };
  }
}

export function contactJobs(app: AppContext): JobDefinitions {
  return {
    'contact.clear': {
      workers: 'interactive',
      run: (contact, attempt) => clearContact(app, contact, attempt),
    },
    'contact.follow-merge': { workers: 'interactive', run: (contact) => followUnnamedMerge(app, contact) },
  };
}

const CLEAR_AFTER_S = 5;
/** How often a clear is queued again while Intercom is disconnected: the job's own retries last half an hour. */
const DISCONNECTED_RETRY_S = 600;

/** Queues a delayed clear of the contact: in the meantime its customer, or another, may get it again. */
export function queueContactClear(jobs: Jobs, contact: JobData['contact.clear'], sql?: Sql): Promise<void> {
  return jobs.send('contact.clear', contact, { sql, afterSeconds: CLEAR_AFTER_S });
}

/**
 * Clears the attributes of a contact that was unlinked, or whose customer now has another contact. Filters would find
 * it by a subscription that is not its own. A customer who gets the contact before the clear, or has already written to
 * it, writes all attributes again anyway.
 *
 * @throws AppError when Intercom is unavailable; the job is retried
 */
async function clearContact(
  app: AppContext,
  { workspaceId, contactId }: JobData['contact.clear'],
  { isRetry } = { isRetry: false },
): Promise<void> {
  const workspace = await readWorkspace(app.database, workspaceId);
  const client = workspace && app.intercom(workspace);
  if (!client) return;
  const status = await readAttributesStatus(app.database, workspaceId, contactId);
  if (status === 'written') {
    // An earlier attempt may have cleared attributes that were written in between.
    if (isRetry) await rewriteContactAttributes(app.database, workspaceId, contactId);
    return;
  }
  if (workspace.status !== 'connected') {
    const options = { afterSeconds: DISCONNECTED_RETRY_S };
    return app.jobs.send('contact.clear', { workspaceId, contactId }, options);
  }
  if (status === 'pending') return queueContactClear(app.jobs, { workspaceId, contactId });
  // The contact may be deleted or merged. Whether a write to its ID then reaches the surviving contact is UNVERIFIED.
  if ((await client.followContact(contactId))?.id !== contactId) return;
  const { available } = await provisionWith(client, app.database, workspaceId);
  const nothing = Object.fromEntries([...available.keys()].map((name) => [name, null]));
  const write = (values: Readonly<Record<string, unknown>>) =>
    answerOrError(client.updateContact(contactId, { custom_attributes: values }));
  let answer = await write(nothing);
  if (answer instanceof AppError && !mayPass(answer.remedy))
    answer = await write(withoutNull(nothing, available));
  if (answer instanceof AppError) {
    if (mayPass(answer.remedy)) throw answer;
    app.logger.warn({ workspaceId, contactId, code: answer.code }, 'a former contact was not cleared');
  }
  await rewriteContactAttributes(app.database, workspaceId, contactId);
}

/**
 * Follows a merge when `contact.merged` has no `merged_from`: Intercom's merge history names the merged contacts. The
 * card of the surviving contact must not wait for the next event to find its customer.
 *
 * @throws AppError when Intercom is unavailable; the job is retried
 */
async function followUnnamedMerge(
  app: AppContext,
  { workspaceId, contactId: into }: JobData['contact.follow-merge'],
): Promise<void> {
  const workspace = await readWorkspace(app.database, workspaceId);
  const client = workspace && app.intercom(workspace);
  const merged = client ? await client.listMerged(into) : [];
  for (const from of merged)
    await app.database.transaction((sql) => followMerge(sql, workspaceId, { from, into }));
}
