/** `problem`: something does not work, the exit code is 1. `warning`: it works, and an operator should look. */
type Status = 'ok' | 'warning' | 'problem';

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

export type CheckOutcome = Pick<CheckResult, 'status' | 'message' | 'remedy'>;

type Found = CheckOutcome | readonly CheckOutcome[] | null;

/** Checks by name. `null`: the check does not apply. No check changes anything. */
export type Checks<Subject> = Readonly<Record<string, (subject: Subject) => Found | Promise<Found>>>;

export const ok = (message: string): CheckOutcome => ({ status: 'ok', message, remedy: null });
type Severity = (message: string, remedy: string) => CheckOutcome;
export const warning: Severity = (message, remedy) => ({ status: 'warning', message, remedy });
export const problem: Severity = (message, remedy) => ({ status: 'problem', message, remedy });

/** Runs checks in parallel. Results come in the order of the table. */
export async function runChecks<Subject>(
  checks: Checks<Subject>,
  subject: Subject,
  scope: { readonly workspace?: string; readonly project?: string } = {},
): Promise<CheckResult[]> {
  const results = Object.entries(checks).map(async ([name, check]) =>
    [(await check(subject)) ?? []].flat().map((outcome) => resultOf(name, outcome, scope)),
  );
  return (await Promise.all(results)).flat();
}

export function resultOf(
  check: string,
  { status, message, remedy }: CheckOutcome,
  { workspace = null, project = null }: Partial<Pick<CheckResult, 'workspace' | 'project'>> = {},
): CheckResult {
  return { check, status, workspace, project, message, remedy };
}

export function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
