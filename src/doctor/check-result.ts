/** `problem`: something does not work, the exit code is 1. `warning`: it works, and somebody should look. */
export type FindingStatus = 'ok' | 'warning' | 'problem';

export interface Finding {
  /** Stable: `database`, `webhook_registered`. */
  readonly check: string;
  readonly status: FindingStatus;
  readonly workspace: string | null;
  /** The connected project's id here. */
  readonly project: string | null;
  readonly message: string;
  /** What to do; `null` when nothing needs to be done. */
  readonly remedy: string | null;
}

type Scope = { readonly workspace?: string; readonly project?: string };

export function ok(check: string, message: string, scope: Scope = {}): Finding {
  return finding(check, 'ok', message, null, scope);
}

export function warning(check: string, message: string, remedy: string, scope: Scope = {}): Finding {
  return finding(check, 'warning', message, remedy, scope);
}

export function problem(check: string, message: string, remedy: string, scope: Scope = {}): Finding {
  return finding(check, 'problem', message, remedy, scope);
}

function finding(
  check: string,
  status: FindingStatus,
  message: string,
  remedy: string | null,
  scope: Scope,
): Finding {
  return {
    check,
    status,
    workspace: scope.workspace ?? null,
    project: scope.project ?? null,
    message,
    remedy,
  };
}

/** A remedy that goes on with a sentence. */
export function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
