/**
 * A score function and a mask function as byte code, whose instructions work on many scores at once: a tile of keys by
 * eight queries. What is the same for all scores, for a query, for a key, or for all queries and keys that are as far apart,
 * is computed once for a block of queries and a tile, and read by tiles as it lies.
 *
 * @module
 */

import { type Derivative, differentiate } from "./derivative.ts";
import type { Graph, InputName } from "./graph.ts";
import {
  comparisons,
  type ConstantSource,
  expand,
  Expansion,
  inOrder,
  type Primitive,
  type PrimitiveNode,
} from "./primitives.ts";

/**
 * What numbers differ by: by nothing within a job, by query, by key, by the distance of both, or by all. The last are of a
 * tile, and temporary, or kept from the score function to its gradient.
 */
export type Extent = "once" | "query" | "key" | "distance" | "tile" | "kept";

/** Where numbers are: those of one extent, one register behind the other. */
export interface Register {
  readonly extent: Extent;
  /** Of a tile, 0 is the scores themselves, -1 their gradients. */
  readonly index: number;
}

/** What an instruction does: with `mask` in front it masks scores where a comparison fails. */
export type Kernel =
  | Exclude<Primitive, "input" | "constant">
  | ("fma" | "copy" | "mask" | "scatter" | "asked" | "halve" | "flip")
  | `mask ${Comparison}`;

/** Comparisons, whose failing masks a score. */
type Comparison = `${"" | "i"}${typeof comparisons[number]}`;

/** A step of a program. */
export interface Instruction {
  readonly kernel: Kernel;
  readonly to: Register;
  readonly operands: readonly Register[];
  /** The array that is read. */
  readonly table: Table | undefined;
}

/** An array by its place among those of a function, or the sums of its gradient. */
export interface Table {
  readonly array: number;
  readonly of: Owner;
  readonly isSum: boolean;
}

/** A number that is written into a register before a job. */
export interface Constant {
  readonly to: Register;
  readonly source: ConstantSource;
  /** Which function's literals and arrays it is from. */
  readonly of: Owner;
}

/** One of the two functions. */
export type Owner = "score" | "mask";

/** A program: what is to be done when, and what it needs. */
export interface Program {
  /** Once a job. */
  readonly once: readonly Instruction[];
  /** Once a block of queries. */
  readonly query: readonly Instruction[];
  /** Once a block of queries and a tile of keys. */
  readonly key: readonly Instruction[];
  readonly distance: readonly Instruction[];
  /** For each tile of eight queries: what becomes of scores, and which are hidden. */
  readonly score: readonly Instruction[];
  readonly mask: readonly Instruction[];
  /** What becomes of the gradients of what the score function gives: those of the scores that it is given. */
  readonly gradient: readonly Instruction[];
  readonly constants: readonly Constant[];
  /** Registers that are given: `b` and `h` once, `q` by query, `k` by key, their difference by distance. */
  readonly inputs: ReadonlyMap<string, Register>;
  /** How many registers there are. */
  readonly registers: Readonly<Record<Extent, number>>;
}

const extentOf: Readonly<Record<InputName | "dScore", Extent>> = {
  ...{ score: "tile", dScore: "tile", b: "once", h: "once", q: "query", k: "key" },
};

/** Whether it compares numbers of either kind. */
function isComparison({ primitive }: PrimitiveNode): boolean {
  return (comparisons as readonly string[]).includes(primitive.replace(/^i/, ""));
}

/** Whether it is q - k. */
function isDistance({ primitive, operands: [a, b] }: PrimitiveNode): boolean {
  return primitive === "isub" && a.input === "q" && b.input === "k";
}

/** Whether it is a number that is the same for all functions. */
function isNumber({ source }: PrimitiveNode, number: number): boolean {
  return source?.from === "number" && source.number === number;
}

/** What an instruction does, and what it reads. */
interface Form {
  readonly kernel: Kernel;
  readonly operands: readonly PrimitiveNode[];
}

/** Where instructions are written. */
type Section = Exclude<Extent, "tile" | "kept"> | TileSection;

/** What is done for each tile of eight queries. */
type TileSection = Owner | "gradient";

/** Writes one program. */
class Compiler {
  readonly #code: Record<Section, Instruction[]> = {
    ...{ once: [], query: [], key: [], distance: [], score: [], mask: [], gradient: [] },
  };
  readonly #constants: Constant[] = [];
  readonly #inputs = new Map<string, Register>();
  readonly #registers: Record<Extent, number> = {
    ...{ once: 0, query: 0, key: 0, distance: 0, tile: 1, kept: 0 },
  };
  /** What takes long, and the gradient asks for again. */
  readonly #kept: ReadonlySet<PrimitiveNode>;
  readonly #extents = new Map<PrimitiveNode, Extent>();
  readonly #places = new Map<PrimitiveNode, Register>();
  /** How often a node is read: by nodes, and by instructions, which may do what several nodes say. */
  #uses: ReadonlyMap<PrimitiveNode, number> = new Map();
  #reads: ReadonlyMap<PrimitiveNode, number> = new Map();
  /** Reads of a tile's register that are to come, and registers that have none. */
  readonly #left = new Map<number, number>();
  #free: number[] = [];
  #owner: Owner = "score";
  #section: TileSection = "score";

  constructor(kept: ReadonlySet<PrimitiveNode> = new Set()) {
    this.#kept = kept;
  }

  /** A score function. */
  score(result: PrimitiveNode): void {
    this.#begin("score", "score", [result]);
    if (result.input === "score") return;
    const isOwn = this.#extent(result) === "tile" && !this.#kept.has(result);
    if (isOwn) this.#lowerTile(result, scores);
    else this.#emit("score", "copy", scores, [this.#lower(result)]);
  }

  /** A mask function: each condition that all others are joined with masks what it can by itself. */
  mask(result: PrimitiveNode): void {
    this.#begin("mask", "mask", [result]);
    for (const term of this.#terms(result)) this.#maskBy(term);
  }

  /** The gradient of the score function: sums first, since the score's gradient takes the place of what it is made of. */
  gradient({ score, gathered }: Derivative): void {
    const roots = gathered.flatMap(({ index, term }) => [index, term]);
    this.#begin("score", "gradient", score === undefined ? roots : [...roots, score]);
    for (const { array, index, term } of gathered) {
      const from = [this.#lowerSpread(term), this.#lowerSpread(index)];
      const table = { array, of: "score", isSum: true } as const;
      this.#code.gradient.push({ kernel: "scatter", to: dScores, operands: from, table });
      for (const one of from) this.#release(one);
    }
    if (score?.input === "dScore") return;
    if (score !== undefined && !this.#places.has(score)) this.#lowerTile(score, dScores);
    else this.#emit("gradient", "copy", dScores, [this.#lower(score ?? zero)]);
  }

  /** As numbers of a tile, also what is the same for several of them. */
  #lowerSpread(node: PrimitiveNode): Register {
    const from = this.#lower(node);
    if (from.extent === "tile" || from.extent === "kept") return from;
    const to = this.#temporary(1);
    this.#emit("gradient", "copy", to, [from]);
    return to;
  }

  finish(): Program {
    const { once, query, key, distance, score, mask, gradient } = this.#code;
    return {
      ...{ once, query, key, distance, score, mask, gradient },
      ...{ constants: this.#constants, inputs: this.#inputs, registers: this.#registers },
    };
  }

  /** Begins what is done for each tile: nothing of one before is there any more. */
  #begin(owner: Owner, section: TileSection, roots: readonly PrimitiveNode[]): void {
    this.#owner = owner;
    this.#section = section;
    for (const [node, { extent }] of this.#places) if (extent === "tile") this.#places.delete(node);
    this.#free = Array.from({ length: this.#registers.tile - 1 }, (_, at) => at + 1);
    const order = inOrder(roots, (node) => this.#places.has(node) ? [] : node.operands);
    for (const node of order) this.#extents.set(node, this.#findExtent(node));
    this.#uses = this.#countReads(roots, ({ operands }) => operands);
    this.#reads = this.#countReads(roots, (node) => this.#formOf(node).operands);
  }

  #countReads(
    roots: readonly PrimitiveNode[],
    operandsOf: (node: PrimitiveNode) => readonly PrimitiveNode[],
  ): ReadonlyMap<PrimitiveNode, number> {
    const reads = new Map<PrimitiveNode, number>();
    const read = (node: PrimitiveNode) => reads.set(node, (reads.get(node) ?? 0) + 1);
    const open = (node: PrimitiveNode) => this.#places.has(node) ? [] : operandsOf(node);
    roots.forEach(read);
    for (const node of inOrder(roots, open)) open(node).forEach(read);
    return reads;
  }

  #extent(node: PrimitiveNode): Extent {
    return this.#extents.get(node)!;
  }

  #findExtent(node: PrimitiveNode): Extent {
    if (node.input !== undefined) return extentOf[node.input];
    if (isDistance(node)) return "distance";
    const extents = new Set(node.operands.map((operand) => this.#extent(operand)));
    extents.delete("once");
    const [one = "once"] = extents;
    return extents.size > 1 ? "tile" : one;
  }

  #terms(result: PrimitiveNode): PrimitiveNode[] {
    const isSplit = (node: PrimitiveNode) =>
      node.primitive === "and" && this.#extent(node) === "tile" && this.#uses.get(node) === 1;
    const order = inOrder([result], (node) => isSplit(node) ? node.operands : []);
    return order.filter((node) => !isSplit(node));
  }

  #maskBy(term: PrimitiveNode): void {
    const isFused = this.#extent(term) === "tile" && isComparison(term) &&
      this.#uses.get(term) === 1;
    const from = isFused ? term.operands.map((one) => this.#lower(one)) : [this.#lower(term)];
    const kernel = isFused ? `mask ${term.primitive as Comparison}` as const : "mask";
    this.#emit("mask", kernel, scores, from);
    for (const one of from) this.#release(one);
  }

  /** Where a node's numbers are, once what computes them is written. */
  #lower(result: PrimitiveNode): Register {
    for (const node of inOrder([result], (one) => this.#missing(one))) {
      if (this.#places.has(node)) continue;
      const place = this.#extent(node) === "tile" ? this.#lowerTile(node) : this.#lowerFlat(node);
      this.#places.set(node, place);
    }
    return this.#places.get(result)!;
  }

  /** What must be computed before a node. */
  #missing(node: PrimitiveNode): readonly PrimitiveNode[] {
    if (this.#places.has(node) || isDistance(node)) return [];
    return this.#formOf(node).operands;
  }

  #lowerFlat(node: PrimitiveNode): Register {
    const extent = this.#extent(node) as Exclude<Extent, "tile" | "kept">;
    const given = node.input ?? (isDistance(node) ? "distance" : undefined);
    const known = given && this.#inputs.get(given);
    if (known !== undefined) return known;
    const isComputed = given === undefined && node.source === undefined;
    const operands = isComputed ? node.operands.map((operand) => this.#lower(operand)) : [];
    const to = { extent, index: this.#registers[extent]++ };
    if (given !== undefined) this.#inputs.set(given, to);
    if (isComputed) this.#emit(extent, node.primitive as Kernel, to, operands, node.array);
    if (node.source !== undefined) {
      this.#constants.push({ to, source: node.source, of: this.#owner });
    }
    return to;
  }

  /** `target` is where numbers shall go, if it matters. */
  #lowerTile(node: PrimitiveNode, target?: Register): Register {
    if (node.input !== undefined) return node.input === "score" ? scores : dScores;
    const { kernel, operands: nodes } = this.#formOf(node);
    const operands = nodes.map((one) => this.#lower(one));
    for (const operand of operands) this.#release(operand);
    // An operation reads its operands before it writes, so that it may write over one.
    const to = target ??
      (this.#kept.has(node)
        ? { extent: "kept", index: this.#registers.kept++ } as const
        : this.#temporary(this.#reads.get(node)!));
    this.#emit(this.#section, kernel, to, operands, node.array);
    return to;
  }

  /** What one instruction does: a node, or several of which nobody else reads what is between. */
  #formOf(node: PrimitiveNode): Form {
    const own = { kernel: node.primitive as Kernel, operands: node.operands };
    if (this.#extent(node) !== "tile") return own;
    if (node.primitive === "add") return this.#productOf(node) ?? own;
    return node.primitive === "select" ? this.#choiceOf(node) ?? own : own;
  }

  #isOnce(node: PrimitiveNode, primitive: Primitive): boolean {
    return node.primitive === primitive && this.#extent(node) === "tile" &&
      this.#uses.get(node) === 1 && !this.#places.has(node);
  }

  /** a b + c. */
  #productOf({ operands }: PrimitiveNode): Form | undefined {
    const at = operands.findIndex((one) => this.#isOnce(one, "mul"));
    if (at < 0) return undefined;
    return { kernel: "fma", operands: [...operands[at].operands, operands[1 - at]] };
  }

  /** Gradients in a case and 0 elsewhere, halves of them where two numbers are equal, and with another sign below 0. */
  #choiceOf({ operands: [condition, a, b] }: PrimitiveNode): Form | undefined {
    const [x, y] = condition.operands;
    if (isNumber(b, 0)) {
      const isAsked = this.#isOnce(condition, "ne") && isNumber(y, 0);
      return isAsked
        ? { kernel: "asked", operands: [a, x] }
        : { kernel: "and", operands: [condition, a] };
    }
    if (a.operands[0] !== b) return undefined;
    if (this.#isOnce(a, "mul") && isNumber(a.operands[1], 0.5) && this.#isOnce(condition, "eq")) {
      return { kernel: "halve", operands: [b, x, y] };
    }
    const isFlipped = this.#isOnce(a, "neg") && this.#isOnce(condition, "lt") && isNumber(y, 0);
    return isFlipped ? { kernel: "flip", operands: [b, x] } : undefined;
  }

  #temporary(reads: number): Register {
    const index = this.#free.pop() ?? this.#registers.tile++;
    this.#left.set(index, reads);
    return { extent: "tile", index };
  }

  #release({ extent, index }: Register): void {
    if (extent !== "tile" || index <= 0) return;
    const left = this.#left.get(index)! - 1;
    this.#left.set(index, left);
    if (left === 0) this.#free.push(index);
  }

  #emit(
    section: Section,
    kernel: Kernel,
    to: Register,
    operands: readonly Register[],
    array?: number,
  ): void {
    const table = array === undefined ? undefined : { array, of: this.#owner, isSum: false };
    this.#code[section].push({ kernel, to, operands, table });
  }
}

const scores: Register = { extent: "tile", index: 0 };
const dScores: Register = { extent: "tile", index: -1 };

const zero: PrimitiveNode = {
  ...{ primitive: "constant", operands: [], input: undefined, array: undefined },
  source: { from: "number", number: 0 },
};

/**
 * The program of two functions, either of which may be missing.
 *
 * @param hasGradient Whether it also differentiates the score function.
 */
export function compile(
  score: Graph | undefined,
  mask: Graph | undefined,
  hasGradient = false,
): Program {
  const expansion = score && new Expansion(score), result = score && expand(score, expansion);
  const derivative = hasGradient && score && differentiate(result!, expansion!, score);
  const compiler = new Compiler(derivative ? keptOf(derivative, result!) : undefined);
  if (result !== undefined) compiler.score(result);
  if (derivative) compiler.gradient(derivative);
  if (mask !== undefined) compiler.mask(expand(mask));
  return compiler.finish();
}

/** Numbers that are kept at most: each is a whole tile. */
const mostKept = 16;

const curves: ReadonlySet<Primitive> = new Set(["tanh", "exp", "log", "sigmoid", "sqrt"] as const);

/**
 * What the score function computes and the gradient reads, so that it need not be computed again; where that is too much, what takes
 * long of it.
 */
function keptOf({ score, gathered }: Derivative, result: PrimitiveNode): Set<PrimitiveNode> {
  const forward = new Set(inOrder([result]).filter(({ operands }) => operands.length > 0));
  const roots = gathered.flatMap(({ index, term }) => [index, term]);
  if (score !== undefined) roots.push(score);
  const read = inOrder(roots, (node) => forward.has(node) ? [] : node.operands);
  const kept = read.filter((node) => forward.has(node));
  const long = kept.length <= mostKept
    ? kept
    : inOrder(roots).filter(({ primitive }) => curves.has(primitive));
  return new Set(long.slice(0, 4 * mostKept));
}
