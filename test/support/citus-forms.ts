import { loadModule, parseSync } from 'libpg-query';
import type pg from 'pg';

/**
 * Forms of statements that Citus' router planner refuses even when all their rows are on one node. Sources: Citus' code
 * and its documentation ("SQL support and workarounds"). The planner sees a statement after PostgreSQL has simplified
 * it: a subquery that only computes is dissolved, which means that its expressions replace the references to its
 * columns. `offset 0` prevents that.
 *
 * The check reads only the text, so it knows only the types that the text names. In doubt, a function counts as its
 * most volatile overload.
 */
export const FORMS = {
  insertInWith: 'inserts inside a WITH',
  insertAfterModification: 'modifies inside the WITH of an INSERT',
  subqueryInValues: 'has a subquery among the values of an INSERT',
  workspaceChanged: 'sets workspace_id',
  volatileInModification: 'calls a volatile function in SET, WHERE or WITH of an UPDATE or DELETE',
  lazyCall: 'calls a function that is not immutable inside CASE or COALESCE of an UPDATE or DELETE',
  stableOfColumn: 'calls a stable function with a column in an UPDATE or DELETE',
  simpleCase: 'compares with "case x when y" in an INSERT, UPDATE or DELETE',
  callInConflict: 'calls a function that is not immutable in ON CONFLICT',
  parameterInConflict: 'has a parameter in ON CONFLICT of an INSERT that selects its rows',
  callInReturning: 'calls a function that is not immutable in RETURNING',
  correlatedWorkspace:
    'ties a subquery in an expression to the workspace by a column of another table, not by the parameter',
  namedCte: 'names the columns of a WITH query behind its name, which are lost when it is sent to a node',
  localTable: 'joins a table that is not distributed',
} as const;

type Form = keyof typeof FORMS;

/** 0 immutable, 1 stable, 2 volatile. */
type Volatility = 0 | 1 | 2;

/** What PostgreSQL's catalog says about functions and types. */
export interface Catalog {
  /** Tables that Citus distributes. */
  readonly spread: ReadonlySet<string>;
  volatilityOf(name: string, argumentCount: number): Volatility;
  /** The volatility of parsing a value of the type from text. */
  volatilityOfInput(type: string): Volatility;
}

/** Functions whose more volatile overloads are only for types that no table has. */
const KNOWN: Readonly<Record<string, Volatility>> = { timezone: 0 };

export async function readCatalog(client: pg.Client, spread: ReadonlySet<string>): Promise<Catalog> {
  await loadModule();
  const { rows: functions } = await client.query<{ name: string; count: number; volatility: Volatility }>(
    `select proname as name, pronargs as count,
            max(case provolatile when 'i' then 0 when 's' then 1 else 2 end) as volatility
       from pg_proc where pronamespace = 'pg_catalog'::regnamespace group by 1, 2`,
  );
  const { rows: types } = await client.query<{ name: string; volatility: Volatility }>(
    `select t.typname as name, case p.provolatile when 'i' then 0 when 's' then 1 else 2 end as volatility
       from pg_type t join pg_proc p on p.oid = t.typinput
      where t.typnamespace = 'pg_catalog'::regnamespace`,
  );
  const byCount = new Map(functions.map((row) => [`${row.name} ${row.count}`, row.volatility]));
  const byName = new Map<string, Volatility>();
  for (const { name, volatility } of functions) {
    byName.set(name, worse(byName.get(name) ?? 0, volatility));
  }
  const byType = new Map(types.map((row) => [row.name, row.volatility]));
  return {
    spread,
    volatilityOf: (name, count) => KNOWN[name] ?? byCount.get(`${name} ${count}`) ?? byName.get(name) ?? 2,
    volatilityOfInput: (type) => byType.get(type) ?? 0,
  };
}

function worse(one: Volatility, other: Volatility): Volatility {
  return one > other ? one : other;
}

interface Node {
  readonly [field: string]: unknown;
}

/** Columns of the subqueries that PostgreSQL dissolves, with the volatility of the call that replaces each column. */
type Scope = ReadonlyMap<string, Volatility>;

const NOTHING: Scope = new Map();

/** @returns the known forms that Citus refuses; empty: none */
export function findCitusForms(catalog: Catalog, text: string): string[] {
  const found = new Set<Form>();
  for (const { stmt } of (parseSync(text) as { stmts?: { stmt?: unknown }[] }).stmts ?? []) {
    if (!tablesIn(stmt).some((table) => catalog.spread.has(table))) continue;
    if (tablesIn(stmt).some((table) => !catalog.spread.has(table))) found.add('localTable');
    each(stmt, (tag, node) => {
      if (tag === 'InsertStmt') checkInsert(node);
      if (tag === 'UpdateStmt' || tag === 'DeleteStmt') checkChange(node);
      // When the statement has parameters, the comparison that Citus writes for the node is not valid.
      if (/^(Insert|Update|Delete)Stmt$/.test(tag))
        each(node, (inner, { arg }) => {
          if (inner === 'CaseExpr' && arg !== undefined) found.add('simpleCase');
        });
      for (const cte of ctesOf(node)) {
        if (tagOf(cte.ctequery) === 'InsertStmt') found.add('insertInWith');
        // A recursive WITH query was never refused.
        if (list(cte.aliascolnames).length > 0 && !(node.withClause as Node).recursive) found.add('namedCte');
      }
      if (
        tag === 'SubLink' &&
        /^(EXPR|ARRAY)_SUBLINK$/.test(String(node.subLinkType)) &&
        comparesWorkspaces(node)
      )
        found.add('correlatedWorkspace');
    });
  }
  return [...found].map((form) => FORMS[form]);

  function checkInsert(node: Node): void {
    if (ctesOf(node).some((cte) => tagOf(cte.ctequery) !== 'SelectStmt'))
      found.add('insertAfterModification');
    const source = inside(node.selectStmt);
    if (list(source.valuesLists).length > 0 && holds(source.valuesLists, 'SubLink'))
      found.add('subqueryInValues');
    const conflict = node.onConflictClause as Node | undefined;
    const scope = dissolvedIn(node);
    checkWorkspace(conflict?.targetList);
    const parts = [
      conflict?.targetList,
      conflict?.whereClause,
      (conflict?.infer as Node | undefined)?.whereClause,
    ];
    if (volatilityIn(parts, NOTHING) > 0) found.add('callInConflict');
    // The node gets the other parameters without types.
    if (list(source.valuesLists).length === 0 && holds(parts, 'ParamRef')) found.add('parameterInConflict');
    checkReturning(node, scope);
  }

  function checkChange(node: Node): void {
    const scope = dissolvedIn(node);
    checkWorkspace(node.targetList);
    for (const part of [node.targetList, node.whereClause]) {
      if (volatilityIn(part, scope) === 2) found.add('volatileInModification');
      each(part, (tag, inner) => {
        if ((tag === 'CaseExpr' || tag === 'CoalesceExpr') && volatilityIn(inner, scope) > 0)
          found.add('lazyCall');
        const own = ownVolatility(tag, inner, scope);
        if (own === 1 && (tag === 'ColumnRef' ? false : holds(inner, 'ColumnRef')))
          found.add('stableOfColumn');
      });
    }
    for (const cte of ctesOf(node)) {
      if (volatilityIn(cte.ctequery, NOTHING) === 2) found.add('volatileInModification');
    }
    checkReturning(node, scope);
  }

  function checkWorkspace(targets: unknown): void {
    if (list(targets).some((target) => inside(target).name === 'workspace_id')) found.add('workspaceChanged');
  }

  function checkReturning(node: Node, scope: Scope): void {
    if (volatilityIn(node.returningClause, scope) > 0) found.add('callInReturning');
  }

  /** The volatility of the most volatile call in a tree, subqueries included. */
  function volatilityIn(tree: unknown, scope: Scope): Volatility {
    let worst: Volatility = 0;
    each(tree, (tag, node) => {
      worst = worse(worst, ownVolatility(tag, node, scope));
    });
    return worst;
  }

  function ownVolatility(tag: string, node: Node, scope: Scope): Volatility {
    if (tag === 'SQLValueFunction') return 1;
    if (tag === 'ColumnRef') return scope.get(namesOf(node.fields).join('.')) ?? 0;
    if (tag === 'A_Expr') return isStableArithmetic(node) ? 1 : 0;
    if (tag === 'TypeCast') return isConstant(node.arg) ? 0 : catalog.volatilityOfInput(typeOf(node));
    if (tag !== 'FuncCall') return 0;
    const name = namesOf(node.funcname).at(-1) ?? '';
    if (name === 'extract' && isDifference(list(node.args)[1])) return 0;
    return catalog.volatilityOf(name, list(node.args).length);
  }

  /** Columns of a modification's subqueries and CTEs that PostgreSQL dissolves, with the volatility of their calls. */
  function dissolvedIn(node: Node): Scope {
    const scope = new Map<string, Volatility>();
    const ctes = new Map<string, Node>();
    for (const cte of ctesOf(node)) {
      const name = String(cte.ctename);
      const references = tablesIn(node, true).filter((table) => table === name).length;
      if (isDissolved(cte.ctequery) && cte.ctematerialized !== 'CTEMaterializeAlways' && references === 1) {
        ctes.set(name, cte);
      }
    }
    for (const part of [node.fromClause, node.usingClause]) {
      each(part, (tag, item) => {
        const table = tag === 'RangeVar' ? String(item.relname) : '';
        const query = tag === 'RangeSubselect' ? item.subquery : ctes.get(table)?.ctequery;
        if (query === undefined || !isDissolved(query)) return;
        const alias = (item.alias as Node | undefined)?.aliasname ?? table;
        const select = inside(query);
        const own = dissolvedIn({ ...node, fromClause: select.fromClause, usingClause: undefined });
        for (const target of list(select.targetList)) {
          const { name, val } = inside(target);
          const column = name ?? namesOf(inside(val).fields).at(-1) ?? namesOf(inside(val).funcname).at(-1);
          const volatility = volatilityIn(val, own);
          // PostgreSQL never dissolves a volatile expression.
          if (volatility !== 1) continue;
          scope.set(`${String(alias)}.${String(column)}`, volatility);
          scope.set(String(column), volatility);
        }
      });
    }
    return scope;
  }
}

/** Whether `a.workspace_id = b.workspace_id` is somewhere in a tree. */
function comparesWorkspaces(tree: unknown): boolean {
  let compares = false;
  each(tree, (tag, node) => {
    const sides = [node.lexpr, node.rexpr];
    compares ||=
      tag === 'A_Expr' &&
      sides.every(
        (side) => tagOf(side) === 'ColumnRef' && namesOf(inside(side).fields).at(-1) === 'workspace_id',
      );
  });
  return compares;
}

/** Whether PostgreSQL replaces a subquery's columns with their expressions. */
function isDissolved(query: unknown): boolean {
  if (tagOf(query) !== 'SelectStmt') return false;
  const select = inside(query);
  const barriers = [
    'limitCount',
    'limitOffset',
    'groupClause',
    'havingClause',
    'distinctClause',
    'lockingClause',
  ];
  return select.op === 'SETOP_NONE' && barriers.every((barrier) => select[barrier] === undefined);
}

/** Adding an interval to a timestamp is stable: how long a day is depends on the session's time zone. */
function isStableArithmetic({ kind, name, lexpr, rexpr }: Node): boolean {
  const [operator] = namesOf(name);
  return (
    kind === 'AEXPR_OP' && (operator === '+' || operator === '-') && (isInterval(lexpr) || isInterval(rexpr))
  );
}

function isInterval(node: unknown): boolean {
  const inner = inside(node);
  if (tagOf(node) === 'TypeCast') return typeOf(inner) === 'interval';
  return tagOf(node) === 'FuncCall' && namesOf(inner.funcname).at(-1) === 'make_interval';
}

/** Subtracting two timestamps gives an interval, in which nothing depends on the session. */
function isDifference(node: unknown): boolean {
  const inner = inside(node);
  return tagOf(node) === 'A_Expr' && namesOf(inner.name)[0] === '-' && !isStableArithmetic(inner);
}

/** A constant is parsed when the statement is planned, and a parameter already has its type. */
function isConstant(node: unknown): boolean {
  return tagOf(node) === 'A_Const' || tagOf(node) === 'ParamRef';
}

function typeOf(cast: Node): string {
  const type = cast.typeName as Node;
  // A cast to an array only parses text if its operand is text; ours cast arrays and parameters.
  return type.arrayBounds === undefined ? (namesOf(type.names).at(-1) ?? '') : '';
}

function ctesOf(node: Node): Node[] {
  return list((node.withClause as Node | undefined)?.ctes).map(inside);
}

/** Tables that a statement names; CTEs only if `withCtes`. */
function tablesIn(tree: unknown, withCtes = false): string[] {
  const tables: string[] = [];
  const ctes = new Set<string>();
  each(tree, (tag, node) => {
    if (tag === 'CommonTableExpr') ctes.add(String(node.ctename));
    if (tag === 'RangeVar') tables.push(String(node.relname));
    for (const key of ['relation']) {
      const relation = node[key] as Node | undefined;
      if (relation?.relname !== undefined) tables.push(String(relation.relname));
    }
  });
  return withCtes ? tables : tables.filter((table) => !ctes.has(table));
}

function holds(tree: unknown, wanted: string): boolean {
  let held = false;
  each(tree, (tag) => {
    held ||= tag === wanted;
  });
  return held;
}

/** Every node of a tree with its kind, the outer ones first. */
function each(tree: unknown, visit: (tag: string, node: Node) => void): void {
  if (Array.isArray(tree)) for (const item of tree) each(item, visit);
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree)) return;
  for (const [tag, value] of Object.entries(tree as Node)) {
    if (/^[A-Z]/.test(tag) && typeof value === 'object' && value !== null) visit(tag, value as Node);
    each(value, visit);
  }
}

/** Unwraps a node: `{FuncCall: {…}}` gives `{…}`. */
function inside(node: unknown): Node {
  return typeof node === 'object' && node !== null
    ? ((Object.values(node)[0] as Node | undefined) ?? {})
    : {};
}

function tagOf(node: unknown): string {
  return typeof node === 'object' && node !== null ? (Object.keys(node)[0] ?? '') : '';
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function namesOf(fields: unknown): string[] {
  return list(fields).flatMap((field) => {
    const { sval } = inside(field);
    return typeof sval === 'string' ? [sval] : [];
  });
}
