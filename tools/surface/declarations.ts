/**
 * What a module of declarations exports, in one text: each export by its name, and after them what
 * their types name without being exported. Without comments, so that wording changes nothing.
 *
 * @module
 */

import ts from "typescript";

/** What goes into one text. */
interface Surface {
  readonly checker: ts.TypeChecker;
  /** What is exported under its own name somewhere, and need not be told again. */
  readonly exported: Set<ts.Symbol>;
  /** What exports name, in the order in which that was seen; more is added while it is printed. */
  readonly named: Set<ts.Symbol>;
}

const printer = ts.createPrinter({ removeComments: true });

const { Alias, Class, Enum, Function: Func, Interface, TypeAlias, ValueModule, Variable } =
  ts.SymbolFlags;

/** Prints what a file of declarations exports. */
export function surfaceOf(file: string): string {
  const program = ts.createProgram([file], {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    // What is not the project's own is never looked up.
    noLib: true,
    types: [],
  });
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(program.getSourceFile(file)!);
  if (module === undefined) throw new Error(`Cannot read what ${file} exports: it is no module`);
  const surface: Surface = { checker, exported: new Set(), named: new Set() };
  findExported(module, surface);
  const exports = printExports(module, surface);
  const named = printNamed(surface);
  const parts = [exports, named && `// Named by these, and not exported.\n\n${named}`];
  // Without it, all in a file of declarations would count as exported.
  return [...parts.filter(Boolean), "export {};"].join("\n\n") + "\n";
}

function resolved(symbol: ts.Symbol, { checker }: Surface): ts.Symbol {
  return symbol.flags & Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

function exportsOf(module: ts.Symbol, { checker }: Surface): ts.Symbol[] {
  return checker.getExportsOfModule(module).sort((a, b) => a.name < b.name ? -1 : 1);
}

function findExported(module: ts.Symbol, surface: Surface): void {
  for (const symbol of exportsOf(module, surface)) {
    const target = resolved(symbol, surface);
    if (target.flags & ValueModule) findExported(target, surface);
    else if (target.name === symbol.name) surface.exported.add(target);
  }
}

function printExports(module: ts.Symbol, surface: Surface): string {
  return exportsOf(module, surface).map((symbol) => printExport(symbol, surface)).join("\n\n");
}

function printExport(symbol: ts.Symbol, surface: Surface): string {
  const target = resolved(symbol, surface), { name } = symbol;
  if (target.flags & ValueModule) {
    const inner = printExports(target, surface).replace(/^export declare /gm, "export ");
    return `export declare namespace ${name} {\n${inner}\n}`;
  }
  if (target.name !== name) {
    surface.named.add(target);
    return `export ${isOnlyType(symbol) ? "type " : ""}{ ${target.name} as ${name} };`;
  }
  if (target.flags & Class && isOnlyType(symbol)) {
    return [...printSymbol(target, surface, false), `export type { ${name} };`].join("\n");
  }
  return printSymbol(target, surface, true).map((text) => `export ${text}`).join("\n");
}

function isOnlyType(symbol: ts.Symbol): boolean {
  return symbol.declarations?.some(ts.isTypeOnlyImportOrExportDeclaration) ?? false;
}

function printNamed(surface: Surface): string {
  const texts = new Map<string, string>();
  // A set hands out what is added to it meanwhile.
  for (const symbol of surface.named) {
    texts.set(symbol.name, printSymbol(symbol, surface, false).join("\n"));
  }
  return [...texts].sort(([a], [b]) => a < b ? -1 : 1).map(([, text]) => text).join("\n\n");
}

/**
 * Prints the declarations of a symbol, and notes what they name.
 *
 * @param isMade Whether it can be made by who sees it: without that a class has no constructor.
 */
function printSymbol(symbol: ts.Symbol, surface: Surface, isMade: boolean): string[] {
  return (symbol.declarations ?? []).map((declaration) => {
    const node = !isMade && ts.isClassDeclaration(declaration)
      ? withoutConstructors(declaration)
      : statementOf(declaration);
    noteNamed(node, surface);
    const text = printer.printNode(ts.EmitHint.Unspecified, node, declaration.getSourceFile());
    return text.replace(/^export /, "");
  });
}

function statementOf(declaration: ts.Declaration): ts.Node {
  return ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
}

function withoutConstructors(node: ts.ClassDeclaration): ts.ClassDeclaration {
  return ts.factory.updateClassDeclaration(
    node,
    node.modifiers,
    node.name,
    node.typeParameters,
    node.heritageClauses,
    node.members.filter((member) => !ts.isConstructorDeclaration(member)),
  );
}

/** Notes what of the project a declaration names that is exported nowhere. */
function noteNamed(node: ts.Node, surface: Surface): void {
  const { checker, exported, named } = surface;
  const visit = (inner: ts.Node): void => {
    const symbol = ts.isIdentifier(inner) ? checker.getSymbolAtLocation(inner) : undefined;
    const target = symbol && resolved(symbol, surface);
    if (target && isOfModule(target) && !exported.has(target)) named.add(target);
    ts.forEachChild(inner, visit);
  };
  visit(node);
}

/** Whether it is declared at the top of a module, and no global or member. */
function isOfModule({ flags, declarations }: ts.Symbol): boolean {
  const kinds = Class | Enum | Func | Interface | TypeAlias | Variable;
  return (flags & kinds) !== 0 && (declarations ?? []).some((declaration) => {
    const { parent } = statementOf(declaration);
    return ts.isSourceFile(parent) && ts.isExternalModule(parent);
  });
}
