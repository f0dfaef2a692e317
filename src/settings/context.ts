import type { Request, Response } from 'express';
import type { Sql } from '../database/sql.ts';
import { notFound } from '../errors.ts';
import type { WorkspaceContext } from '../workspaces/install.ts';
import { type Session, type Sessions, sessionOf } from '../workspaces/sessions.ts';
import { readWorkspace, type Workspace } from '../workspaces/store.ts';

export interface SettingsContext extends WorkspaceContext {
  readonly sessions: Sessions;
  /** Gives a replica that has everything up to now, or else the database. */
  readonly upToDate?: () => Promise<Sql>;
  /** Queues deliveries again: one event, or all failed ones; gives their number. */
  replay(workspaceId: string, selection: { eventId?: string; failedOnly: boolean }): Promise<number>;
}

/** One request of a signed-in admin. Everything it reads and writes is of `workspace`. */
export interface Visit {
  readonly session: Session;
  readonly workspace: Workspace;
}

/** @throws AppError `not_found` when the workspace was erased while its admin was signed in */
export async function visitOf(context: SettingsContext, res: Response): Promise<Visit> {
  const session = sessionOf(res);
  const workspace = await readWorkspace(context.database, session.workspaceId);
  if (!workspace) throw notFound('This workspace no longer has the app installed');
  return { session, workspace };
}

/** Where a page's larger reads go: nothing that this admin has just changed is missing there. */
export async function pageSql(context: SettingsContext): Promise<Sql> {
  return (await context.upToDate?.()) ?? context.database;
}

/** The text of a form's field, trimmed; `''` when absent or given more than once. */
export function field(req: Request, name: string): string {
  const value: unknown = (req.body as Record<string, unknown> | undefined)?.[name];
  return typeof value === 'string' ? storable(value).trim() : '';
}

/** All values of a form's field: none, one or several ticked boxes. */
export function fields(req: Request, name: string): string[] {
  const value: unknown = (req.body as Record<string, unknown> | undefined)?.[name];
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return values.filter((each): each is string => typeof each === 'string').map(storable);
}

/** The text of a query's parameter; `''` when absent or given more than once. */
export function parameter(req: Request, name: string): string {
  const value = req.query[name];
  return typeof value === 'string' ? storable(value) : '';
}

/** PostgreSQL's text cannot hold NUL. */
function storable(text: string): string {
  return text.replaceAll('\0', '');
}
