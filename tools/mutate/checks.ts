/**
 * The checks of a source, each with a switch: the text that is run once to see which tests are
 * refused by it, and again with it turned off.
 *
 * @module
 */

import ts from "typescript";

/**
 * What is turned off: a `throw` does nothing; a call of a function that checks is left out; a part
 * of a condition is as if it let everything pass.
 */
export type CheckKind = "throw" | "call" | "part";

/** A check in a source. */
export interface Check {
  readonly kind: CheckKind;
  readonly file: string;
  readonly line: number;
  /** Its first line as it is written. */
  readonly text: string;
}

/** A piece of text that is put in at a place. */
interface Insertion {
  readonly at: number;
  readonly text: string;
}

/** A check and what switches it. */
interface Found {
  readonly kind: CheckKind;
  readonly node: ts.Node;
  before(id: number): string;
  after(id: number): string;
}

/** Functions that return nothing or throw. */
const nameOfCheck = /^#?check/;

/** Gives every check of a source a switch: its number is the next of `checks`, where it is put. */
export function withSwitches(file: string, text: string, checks: Check[]): string {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const insertions: Insertion[] = [];
  for (const { kind, node, before, after } of findChecks(source)) {
    const id = checks.length, start = node.getStart(source);
    const { line } = source.getLineAndCharacterOfPosition(start);
    checks.push({ kind, file, line: line + 1, text: node.getText(source).split("\n")[0] });
    insertions.push({ at: start, text: before(id) }, { at: node.end, text: after(id) });
  }
  return insert(text, insertions);
}

/** Puts texts in; those at one place in the order in which they come. */
function insert(text: string, insertions: Insertion[]): string {
  let result = "", from = 0;
  for (const { at, text: added } of insertions.toSorted((a, b) => a.at - b.at)) {
    result += text.slice(from, at) + added;
    from = at;
  }
  return result + text.slice(from);
}

function findChecks(source: ts.SourceFile): Found[] {
  const found: Found[] = [];
  const visit = (node: ts.Node): void => {
    // What is thrown on from a `catch` was refused before.
    if (ts.isCatchClause(node)) return;
    if (ts.isThrowStatement(node)) found.push(throwIn(node));
    else if (ts.isExpressionStatement(node) && callsCheck(node.expression)) {
      found.push(callIn(node));
    } else if (ts.isIfStatement(node)) found.push(...partsOf(node));
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function throwIn(node: ts.ThrowStatement): Found {
  return { kind: "throw", node, before: (id) => `{ if (mutants.keeps(${id})) `, after: () => " }" };
}

function callIn(node: ts.ExpressionStatement): Found {
  return {
    kind: "call",
    node,
    before: (id) => `if (mutants.calls(${id})) { try { `,
    after: (id) => ` } catch (error) { mutants.refused(${id}); throw error; } }`,
  };
}

function callsCheck(expression: ts.Expression): boolean {
  if (ts.isAwaitExpression(expression)) return callsCheck(expression.expression);
  if (!ts.isCallExpression(expression)) return false;
  const { expression: called } = expression;
  const name = ts.isPropertyAccessExpression(called) ? called.name : called;
  return ts.isMemberName(name) && nameOfCheck.test(name.text);
}

/** What a condition is joined of, where several parts refuse, or several must hold to pass. */
function partsOf({ expression, thenStatement, elseStatement, parent }: ts.IfStatement): Found[] {
  const refuses = ts.isThrowStatement(lastOf(thenStatement));
  const passes = !elseStatement && ts.isReturnStatement(lastOf(thenStatement)) &&
    ts.isBlock(parent) && ts.isThrowStatement(lastOf(parent));
  if (!refuses && !passes) return [];
  const joint = refuses ? ts.SyntaxKind.BarBarToken : ts.SyntaxKind.AmpersandAmpersandToken;
  const parts = joined(expression, joint);
  if (parts.length === 1) return [];
  const switched = refuses ? "refuses" : "passes";
  return parts.map((node): Found => ({
    kind: "part",
    node,
    before: (id) => `mutants.${switched}(${id}, `,
    after: () => ")",
  }));
}

function lastOf(statement: ts.Statement): ts.Statement {
  return ts.isBlock(statement) ? statement.statements.at(-1) ?? statement : statement;
}

function joined(expression: ts.Expression, joint: ts.SyntaxKind): ts.Expression[] {
  if (!ts.isBinaryExpression(expression) || expression.operatorToken.kind !== joint) {
    return [expression];
  }
  return [...joined(expression.left, joint), ...joined(expression.right, joint)];
}
