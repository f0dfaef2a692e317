import { AppError } from '../errors.ts';

/** `problem`: something does not work, the exit code is 1. `warning`: it works, and an operator should look. */
type Status = 'ok' | 'warning' | 'problem';

/** One line of the report. */
export interface CheckResult {
  /** Stable name: `database`, `webhook_registered`. */
  readonly check: string;
  readonly status: Status;
  readonly workspace: string | null;
  /** Our id of the connected project. */
  readonly project: string | null;
  readonly message: string;
  /** What to do; `null`: nothing. */
  readonly remedy: string | null;
}

/** What a check found, with a remedy instead of the check's own. */
export interface CheckOutcome extends Pick<CheckResult, 'status' | 'message'> {
  readonly remedy?: string;
}

type Found = CheckOutcome | readonly CheckOutcome[] | null;

export interface Check<Subject> {
  readonly name: string;
  /** `null`: it does not apply. Never changes anything. */
  run(subject: Subject): Found | Promise<Found>;
  /** What to do about an outcome that brings no remedy of its own. */
  readonly remedy?: string | ((subject: Subject) => string);
}

const outcomeOf =
  (status: Status) =>
  (message: string, remedy?: string): CheckOutcome => ({ status, message, remedy });
export const ok = outcomeOf('ok');
export const warning = outcomeOf('warning');
export const problem = outcomeOf('problem');

/** Runs checks in parallel. Results come in the order of the table. */
export async function runChecks<Subject>(
  checks: readonly Check<Subject>[],
  subject: Subject,
  scope: { readonly workspace?: string; readonly project?: string } = {},
): Promise<CheckResult[]> {
  const results = await Promise.all(
    checks.map(async ({ name, run, remedy }) => {
      const found = await run(subject);
      const outcomes = [found ?? []].flat();
      const defaultRemedy = typeof remedy === 'function' ? remedy(subject) : remedy;
      return outcomes.map((each) => resultOf(name, { ...each, remedy: each.remedy ?? defaultRemedy }, scope));
    }),
  );
  return results.flat();
}

export function resultOf(
  check: string,
  { status, message, remedy = '' }: CheckOutcome,
  { workspace = null, project = null }: Partial<Pick<CheckResult, 'workspace' | 'project'>> = {},
): CheckResult {
  return { check, status, workspace, project, message, remedy: status === 'ok' ? null : remedy };
}

export const unreachable = (reason: string) => ({ state: 'unreachable', reason }) as const;

/** Waits for a platform's answer, or for the error that it is. */
export function answerOrError<T>(work: Promise<T>): Promise<T | AppError> {
  return work.catch((error: unknown) => {
    if (error instanceof AppError) return error;
    throw error;
  });
}

export function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
