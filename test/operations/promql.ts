/** A metric in a Prometheus expression, with its label matchers. */
export interface Selector {
  readonly metric: string;
  readonly matchers: readonly { readonly label: string; readonly operator: string; readonly value: string }[];
}

/** The labels of each series of a metric, as `/metrics` exposes them. */
export type Exposed = ReadonlyMap<string, readonly Readonly<Record<string, string>>[]>;

const LABEL = /([a-z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"/g;

/** The metrics of an expression: names with a prefix of ours or of Node's, and Prometheus' own `up`. */
export function selectorsOf(expression: string): Selector[] {
  const found: Selector[] = [];
  const METRIC = /\b((?:subscription_timeline|process|nodejs)_\w+|up)\b(?:\{([^}]*)\})?/g;
  for (const [, metric = '', inner = ''] of expression.matchAll(METRIC)) {
    const matchers = [...inner.matchAll(LABEL)].map(([, label = '', operator = '', value = '']) => ({
      label,
      operator,
      value,
    }));
    found.push({ metric, matchers });
  }
  return found;
}

/** Labels that an expression groups by. */
export function groupedBy(expression: string): string[] {
  return [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) =>
    list.split(',').map((label) => label.trim()),
  );
}

/** Reads the text format of Prometheus. A metric that has no series yet gets an empty list. */
export function readExposition(text: string): Exposed {
  const exposed = new Map<string, Record<string, string>[]>();
  for (const line of text.split('\n')) {
    const declared = /^# TYPE (\S+)/.exec(line)?.[1];
    if (declared !== undefined && !exposed.has(declared)) exposed.set(declared, []);
    const [, name, inner = ''] = /^([a-zA-Z_]\w*)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === undefined) continue;
    const labels: Record<string, string> = {};
    for (const [, label = '', , value = ''] of inner.matchAll(LABEL)) labels[label] = value;
    const series = exposed.get(name) ?? [];
    series.push(labels);
    exposed.set(name, series);
  }
  return exposed;
}
