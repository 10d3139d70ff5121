/**
 * Gradients of a score function, as expressions: what a change of the score that it is given does to what it gives, and what a
 * change of each element does that it reads. Reverse mode, node by node.
 *
 * @module
 */

import type { Graph } from "./graph.ts";
import { type Expansion, inOrder, type Primitive, type PrimitiveNode } from "./primitives.ts";

/** A gather whose array asks for a gradient: what is added to the element that is read. */
export interface Gathered {
  readonly array: number;
  readonly index: PrimitiveNode;
  readonly term: PrimitiveNode;
}

/** What gradients are computed from. */
export interface Derivative {
  /** With respect to the score; `undefined` where it does not matter. */
  readonly score: PrimitiveNode | undefined;
  readonly gathered: readonly Gathered[];
}

/** Operations of scores that pass a change on. */
const smooth: ReadonlySet<Primitive> = new Set([
  ...(["add", "sub", "mul", "div", "mod", "min", "max", "abs", "neg", "clamp", "select"] as const),
  ...(["exp", "log", "sqrt", "tanh", "sigmoid"] as const),
]);

/** A condition that a gradient depends on: whether it must hold, or must not. */
interface Case {
  readonly condition: PrimitiveNode;
  readonly holds: boolean;
}

/** Cases, one after the other; those that are the same are one object. */
class Cases {
  /** Those before the last one: none of those that always are. */
  readonly before: Cases | undefined;
  readonly last: Case | undefined;
  readonly count: number;
  /** What says whether all are but those of others before them. */
  readonly conditions = new Map<Cases, PrimitiveNode>();
  readonly #longer: Cases[] = [];

  constructor(before?: Cases, last?: Case) {
    this.before = before;
    this.last = last;
    this.count = before === undefined ? 0 : before.count + 1;
  }

  /** These, and one more. */
  and(last: Case): Cases {
    const { condition, holds } = last;
    const known = this.#longer.find((one) =>
      one.last!.condition === condition && one.last!.holds === holds
    );
    if (known === undefined) this.#longer.push(new Cases(this, last));
    return known ?? this.#longer.at(-1)!;
  }
}

/** The cases that both begin with. */
function sharedBy(a: Cases, b: Cases): Cases {
  while (a !== b) {
    if (a.count > b.count) a = a.before!;
    else b = b.before!;
  }
  return a;
}

/** Whether one are there just where the others are not, of those before. */
function areContrary(a: Cases, b: Cases): boolean {
  return a !== b && a.last !== undefined && a.before === b.before &&
    a.last.condition === b.last!.condition;
}

/**
 * A gradient that is something else than 0 in some cases alone. What it is multiplied by on its way may be NaN in all others, so
 * that it is chosen as late as can be.
 */
interface Gradient {
  readonly value: PrimitiveNode;
  readonly cases: Cases;
}

/** Cases that are chosen between one by one: what is chosen by more has a condition of its own, which others share. */
const mostNested = 2;

/** Works out one. */
class Differentiation {
  readonly gathered: Gathered[] = [];
  score: PrimitiveNode | undefined;
  readonly #expansion: Expansion;
  readonly #arrays: Graph["arrays"];
  readonly #matters = new Map<PrimitiveNode, boolean>();
  /** The gradient with respect to what a node is, so far. */
  readonly #gradients = new Map<PrimitiveNode, Gradient>();
  readonly #always = new Cases();

  constructor(expansion: Expansion, { arrays }: Graph) {
    this.#expansion = expansion;
    this.#arrays = arrays;
  }

  run(result: PrimitiveNode): void {
    for (const node of inOrder([result])) this.#matters.set(node, this.#doesMatterBy(node));
    const order = inOrder(
      [result],
      ({ operands }) => operands.filter((one) => this.#doesMatter(one)),
    );
    this.#gradients.set(result, { value: this.#dScore(), cases: this.#always });
    if (!this.#doesMatter(result)) return;
    for (const node of order.reverse()) this.#passOn(node, this.#gradients.get(node)!);
  }

  /** Whether a node depends on the score, or on elements that ask for gradients, by what has one. */
  #doesMatter(node: PrimitiveNode): boolean {
    return this.#matters.get(node)!;
  }

  #doesMatterBy({ primitive, input, array, operands }: PrimitiveNode): boolean {
    return input === "score" ||
      (primitive === "gather" && this.#arrays[array!].grad) ||
      (smooth.has(primitive) && operands.some((one) => this.#doesMatter(one)));
  }

  #dScore(): PrimitiveNode {
    return this.#expansion.make({ primitive: "input", operands: [], input: "dScore" });
  }

  #do(primitive: Primitive, ...operands: PrimitiveNode[]): PrimitiveNode {
    return this.#expansion.do(primitive, ...operands);
  }

  #number(number: number): PrimitiveNode {
    return this.#expansion.constant({ from: "number", number });
  }

  /** A gradient in its cases, and 0 in all others; some cases may be looked at later. */
  #chosen({ value, cases }: Gradient, later = this.#always): PrimitiveNode {
    if (cases === later) return value;
    const { before, last } = cases, zero = this.#number(0);
    if (cases.count - later.count > mostNested) {
      return this.#do("select", this.#all(cases, later), value, zero);
    }
    const { condition, holds } = last!;
    const inner = this.#do("select", condition, ...(holds ? [value, zero] : [zero, value]));
    return this.#chosen({ value: inner, cases: before! }, later);
  }

  /** What says whether all cases are but some. */
  #all(cases: Cases, later: Cases): PrimitiveNode {
    const open: Cases[] = [];
    let at = cases;
    for (; at !== later && !at.conditions.has(later); at = at.before!) open.push(at);
    let all = at.conditions.get(later);
    for (const one of open.reverse()) {
      const { condition, holds } = one.last!, own = holds ? condition : this.#do("not", condition);
      all = all === undefined ? own : this.#do("and", all, own);
      one.conditions.set(later, all);
    }
    return all!;
  }

  #sum(a: Gradient, b: Gradient): Gradient {
    if (a.cases === b.cases) {
      return { value: this.#do("add", a.value, b.value), cases: a.cases };
    }
    if (areContrary(a.cases, b.cases)) {
      const { condition, holds } = a.cases.last!, [yes, no] = holds ? [a, b] : [b, a];
      return {
        value: this.#do("select", condition, yes.value, no.value),
        cases: a.cases.before!,
      };
    }
    const shared = sharedBy(a.cases, b.cases);
    const value = this.#do("add", this.#chosen(a, shared), this.#chosen(b, shared));
    if (a.cases === shared || b.cases === shared) return { value, cases: shared };
    // In neither's cases the sum is 0, and may be multiplied by NaN all the same.
    const condition = this.#do("or", this.#all(a.cases, shared), this.#all(b.cases, shared));
    return { value, cases: shared.and({ condition, holds: true }) };
  }

  /** Adds to the gradient of an operand, where it matters, something that is made of that of the node. */
  #add(
    operand: PrimitiveNode,
    { cases }: Gradient,
    make: () => PrimitiveNode,
    ...more: readonly Case[]
  ): void {
    if (!this.#doesMatter(operand)) return;
    const term = { value: make(), cases: more.reduce((all, one) => all.and(one), cases) };
    const before = this.#gradients.get(operand);
    this.#gradients.set(operand, before === undefined ? term : this.#sum(before, term));
  }

  #passOn(node: PrimitiveNode, gradient: Gradient): void {
    const { primitive, operands: [a, b, c], input, array } = node, { value: g } = gradient;
    const times = (by: PrimitiveNode) => () => this.#do("mul", g, by);
    const minus = (make: () => PrimitiveNode) => () => this.#do("neg", make());
    const same = () => g;
    if (input === "score") this.score = this.#whereAsked(gradient);
    else if (primitive === "gather") {
      this.gathered.push({ array: array!, index: a, term: this.#whereAsked(gradient) });
    } else if (primitive === "add" || primitive === "sub") {
      this.#add(a, gradient, same);
      this.#add(b, gradient, primitive === "add" ? same : minus(same));
    } else if (primitive === "neg") this.#add(a, gradient, minus(same));
    else if (primitive === "mul") {
      this.#add(a, gradient, times(b));
      this.#add(b, gradient, times(a));
    } else if (primitive === "div") {
      this.#add(a, gradient, () => this.#do("div", g, b));
      this.#add(b, gradient, minus(() => this.#do("mul", g, this.#do("div", node, b))));
    } else if (primitive === "mod") {
      this.#add(a, gradient, same);
      this.#add(b, gradient, minus(() => this.#do("mul", g, this.#do("floorDiv", a, b))));
    } else if (primitive === "select") {
      this.#add(b, gradient, same, { condition: a, holds: true });
      this.#add(c, gradient, same, { condition: a, holds: false });
    } else if (primitive === "min" || primitive === "max") this.#share(node, gradient);
    else if (primitive === "clamp") this.#clamp(node, gradient);
    else if (primitive === "abs") {
      const zero = this.#number(0), isLess = this.#do("lt", a, zero);
      this.#add(
        a,
        gradient,
        () => this.#do("select", isLess, this.#do("neg", g), g),
        { condition: this.#do("ne", a, zero), holds: true },
      );
    } else this.#curve(node, gradient);
  }

  /** The lesser or the greater one has it, of equal ones each a half. */
  #share({ primitive, operands: [a, b] }: PrimitiveNode, gradient: Gradient): void {
    const { value: g } = gradient, isEqual = this.#do("eq", a, b);
    const part = () => this.#do("select", isEqual, this.#do("mul", g, this.#number(0.5)), g);
    const name = primitive === "min" ? "le" : "ge";
    this.#add(a, gradient, part, { condition: this.#do(name, a, b), holds: true });
    this.#add(b, gradient, part, { condition: this.#do(name, b, a), holds: true });
  }

  /** A bound has it where it is taken; at the bounds the number has it. */
  #clamp({ operands: [x, lo, hi] }: PrimitiveNode, gradient: Gradient): void {
    const same = () => gradient.value;
    const isBelow = this.#do("lt", x, lo), isAbove = this.#do("gt", x, hi);
    const within = { condition: isBelow, holds: false };
    this.#add(x, gradient, same, within, { condition: isAbove, holds: false });
    if (![lo, hi].some((bound) => this.#doesMatter(bound))) return;
    // Where `lo` is above `hi` that is what is taken.
    const isMost = this.#do("gt", this.#do("max", x, lo), hi);
    const isLeast = { condition: isBelow, holds: true };
    this.#add(lo, gradient, same, { condition: isMost, holds: false }, isLeast);
    this.#add(hi, gradient, same, { condition: isMost, holds: true });
  }

  #curve(node: PrimitiveNode, gradient: Gradient): void {
    const { primitive, operands: [a] } = node, one = this.#number(1), { value: g } = gradient;
    const times = (slope: PrimitiveNode) => this.#do("mul", g, slope);
    const slopes: { readonly [Curve in Primitive]?: () => PrimitiveNode } = {
      exp: () => times(node),
      log: () => this.#do("div", g, a),
      sqrt: () => times(this.#do("div", this.#number(0.5), node)),
      tanh: () => times(this.#do("sub", one, this.#do("mul", node, node))),
      sigmoid: () => times(this.#do("mul", node, this.#do("sub", one, node))),
    };
    this.#add(a, gradient, slopes[primitive]!);
  }

  /** What is masked has a gradient of 0, whatever it is multiplied by. */
  #whereAsked(gradient: Gradient): PrimitiveNode {
    const dScore = this.#dScore(), chosen = this.#chosen(gradient), zero = this.#number(0);
    if (gradient.value === dScore) return chosen;
    return this.#do("select", this.#do("ne", dScore, zero), chosen, zero);
  }
}

/** The gradients of a score function, whose nodes an expansion has made. */
export function differentiate(
  result: PrimitiveNode,
  expansion: Expansion,
  graph: Graph,
): Derivative {
  const differentiation = new Differentiation(expansion, graph);
  differentiation.run(result);
  const { score, gathered } = differentiation;
  return { score, gathered };
}
