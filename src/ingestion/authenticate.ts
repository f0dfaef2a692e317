import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Sql } from '../database/sql.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { equalInConstantTime } from '../text.ts';
import { type Project, workspaceOfProject } from '../workspaces/projects.ts';
import { hashSecret } from '../workspaces/secrets.ts';

/** What decides whether a webhook is accepted. */
export interface WebhookTarget
  extends Pick<Project, 'workspaceId' | 'projectId' | 'webhookAuthHash' | 'signingSecret'> {
  /** Whether the workspace has the app installed. */
  readonly isInstalled: boolean;
}

/** @returns `null`: there is no such project */
export async function readWebhookTarget(sql: Sql, projectId: string): Promise<WebhookTarget | null> {
  const workspaceId = workspaceOfProject(projectId);
  if (workspaceId === null) return null;
  const [row] = await sql.query<{
    webhook_auth_hash: string;
    signing_secret: string | null;
    installed: boolean;
  }>(
    `select p.webhook_auth_hash, p.signing_secret,
            exists (select 1 from workspaces w
                     where w.workspace_id = $1 and w.status <> 'uninstalled') as installed
       from projects p where p.workspace_id = $1 and p.project_id = $2`,
    [workspaceId, projectId],
    'read-webhook-target',
  );
  if (!row) return null;
  return {
    workspaceId,
    projectId,
    webhookAuthHash: row.webhook_auth_hash,
    signingSecret: row.signing_secret,
    isInstalled: row.installed,
  };
}

/** Older signatures are refused: RevenueCat signs each attempt (webhook documentation, "HMAC signing"). */
const SIGNATURE_TOLERANCE_S = 300;

/**
 * Verifies `X-RevenueCat-Webhook-Signature: t=<unix s>,v1=<hex>`, where v1 is
 * HMAC-SHA256(secret, "<t>.<raw body>"). Several `v1` are accepted, as a rotation may send (UNVERIFIED).
 */
export function verifyWebhookSignature(
  secret: string,
  rawBody: Buffer,
  header: string | undefined,
  nowMs: number,
): boolean {
  if (header === undefined) return false;
  let timestamp = '';
  const signatures: string[] = [];
  for (const part of header.split(',')) {
    const [name = '', value = ''] = part.trim().split('=', 2);
    if (name === 't') timestamp = value;
    if (name === 'v1') signatures.push(value);
  }
  if (!/^\d{1,12}$/.test(timestamp)) return false;
  if (Math.abs(nowMs / 1_000 - Number(timestamp)) > SIGNATURE_TOLERANCE_S) return false;
  const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(rawBody).digest();
  return signatures.some(
    (given) => /^[0-9a-f]{64}$/i.test(given) && timingSafeEqual(expected, Buffer.from(given, 'hex')),
  );
}

/**
 * @param signingSecret decrypted; `null` when the project has none
 * @returns what does not match, when the request does not come from the project's webhook; else `null`
 */
export function authenticateWebhook(input: {
  target: Pick<WebhookTarget, 'webhookAuthHash'>;
  signingSecret: string | null;
  authorization: string | undefined;
  signature: string | undefined;
  rawBody: Buffer;
  nowMs: number;
}): WebhookRefusal['refusedFor'] | null {
  const hasKey = isAuthorized(input.target, input.authorization);
  const isSigned =
    input.signingSecret === null ||
    verifyWebhookSignature(input.signingSecret, input.rawBody, input.signature, input.nowMs);
  // Both are checked before the response, so that its time does not reveal which one failed.
  return hasKey ? (isSigned ? null : 'signature') : 'authorization';
}

export function isAuthorized(
  { webhookAuthHash }: Pick<WebhookTarget, 'webhookAuthHash'>,
  authorization: string | undefined,
): boolean {
  return equalInConstantTime(hashSecret(authorization ?? ''), webhookAuthHash);
}

/** Each process writes down refusals of a project at most this often, ms. */
const NOTE_EVERY_MS = 60_000;
const MAX_PROJECTS = 1_000;

export interface WebhookRefusal {
  readonly refusedFor: 'authorization' | 'signature';
  readonly atMs: number;
}

/**
 * Records that a project's webhook was refused, and reports it to Intercom. Never fails: the response is the same
 * without.
 */
export function createRefusalNotes({
  database,
  jobs,
  now,
}: {
  readonly database: Sql;
  readonly jobs: Jobs;
  readonly now: () => number;
}): (
  target: Pick<WebhookTarget, 'workspaceId' | 'projectId'>,
  refusedFor: WebhookRefusal['refusedFor'],
) => Promise<void> {
  const notedMs = new Map<string, number>();
  return async ({ workspaceId, projectId }, refusedFor) => {
    if (now() - (notedMs.get(projectId) ?? Number.NEGATIVE_INFINITY) < NOTE_EVERY_MS) return;
    if (notedMs.size >= MAX_PROJECTS) notedMs.clear();
    notedMs.set(projectId, now());
    try {
      await database.query(
        `update projects set last_refused_at = now(), refused_for = $3 where workspace_id = $1 and project_id = $2`,
        [workspaceId, projectId, refusedFor],
      );
      await jobs.send('workspace.health', { workspaceId }, { onceInSeconds: NOTE_EVERY_MS / 1_000 });
    } catch {
      // The daily check reports it.
    }
  };
}

/** @returns the last refusal after which nothing was received; `null`: there is none */
export async function readWebhookRefusal(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<WebhookRefusal | null> {
  const [row] = await sql.query<{ refused_for: WebhookRefusal['refusedFor']; last_refused_at: Date }>(
    `select refused_for, last_refused_at from projects
      where workspace_id = $1 and project_id = $2 and last_refused_at > coalesce(last_received_at, '-infinity')`,
    [workspaceId, projectId],
  );
  return row ? { refusedFor: row.refused_for, atMs: row.last_refused_at.getTime() } : null;
}
