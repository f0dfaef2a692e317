import { AppError, mayPass } from '../errors.ts';
import type { JobDefinitions } from '../jobs/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { provisionWith } from '../workspaces/install.ts';
import { readWorkspace } from '../workspaces/repository.ts';
import { hasSubscriber, rewriteAttributes } from './repository.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'contact.clear': { workspaceId: string; contactId: string };
  }
}

export function contactJobs(app: AppContext): JobDefinitions {
  return {
    'contact.clear': { workers: 'interactive', run: (contact) => clearContact(app, contact) },
  };
}

/**
 * Clears the attributes of a contact that was unlinked: filters would find it by another person's subscription. A
 * customer who has the contact by then, or gets it in between, writes all attributes anyway.
 *
 * @throws AppError when Intercom is unavailable; the job is retried
 */
async function clearContact(
  app: AppContext,
  { workspaceId, contactId }: { workspaceId: string; contactId: string },
): Promise<void> {
  const workspace = await readWorkspace(app.database, workspaceId);
  const client = workspace && app.intercom(workspace);
  if (!client || (await hasSubscriber(app.database, workspaceId, contactId))) return;
  const { available } = await provisionWith(client, app.database, workspaceId);
  const nothing = Object.fromEntries([...available.keys()].map((name) => [name, null]));
  try {
    await client.updateContact(contactId, { custom_attributes: nothing });
  } catch (error) {
    if (!(error instanceof AppError) || mayPass(error.remedy)) throw error;
    app.logger.warn({ workspaceId, contactId, code: error.code }, 'an unlinked contact was not cleared');
  }
  await rewriteAttributes(app.database, workspaceId, contactId);
}
