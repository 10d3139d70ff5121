/**
 * Gradients of a score function, as expressions: what a change of the score that it is given does to what it gives, and what a
 * change of each element does that it reads. Reverse mode, node by node.
 *
 * @module
 */

import type { Graph } from "./graph.ts";
import type { Expansion, Primitive, PrimitiveNode } from "./primitives.ts";

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

/**
 * A gradient that is something else than 0 in some cases alone. What it is multiplied by on its way may be NaN in all others, so
 * that it is chosen as late as can be.
 */
interface Gradient {
  readonly value: PrimitiveNode;
  readonly cases: readonly Case[];
}

function areSame(a: readonly Case[], b: readonly Case[]): boolean {
  return a.length === b.length &&
    a.every(({ condition, holds }, at) => condition === b[at].condition && holds === b[at].holds);
}

/** Whether one is there just where the other is not. */
function areContrary(a: readonly Case[], b: readonly Case[]): boolean {
  const [x, y] = [a.at(-1), b.at(-1)];
  return x !== undefined && x.condition === y?.condition && x.holds !== y.holds &&
    areSame(a.slice(0, -1), b.slice(0, -1));
}

/** Works out one. */
class Differentiation {
  readonly gathered: Gathered[] = [];
  score: PrimitiveNode | undefined;
  readonly #expansion: Expansion;
  readonly #arrays: Graph["arrays"];
  readonly #matters = new Map<PrimitiveNode, boolean>();
  /** The gradient with respect to what a node is, so far. */
  readonly #gradients = new Map<PrimitiveNode, Gradient>();

  constructor(expansion: Expansion, { arrays }: Graph) {
    this.#expansion = expansion;
    this.#arrays = arrays;
  }

  run(result: PrimitiveNode): void {
    const order: PrimitiveNode[] = [], seen = new Set<PrimitiveNode>();
    const visit = (node: PrimitiveNode) => {
      if (seen.has(node) || !this.#doesMatter(node)) return;
      seen.add(node);
      for (const operand of node.operands) visit(operand);
      order.push(node);
    };
    visit(result);
    this.#gradients.set(result, { value: this.#dScore(), cases: [] });
    for (const node of order.reverse()) this.#passOn(node, this.#gradients.get(node)!);
  }

  /** Whether a node depends on the score, or on elements that ask for gradients, by what has one. */
  #doesMatter(node: PrimitiveNode): boolean {
    const known = this.#matters.get(node);
    if (known !== undefined) return known;
    const { primitive, input, array, operands } = node;
    const found = input === "score" ||
      (primitive === "gather" && this.#arrays[array!].grad) ||
      (smooth.has(primitive) && operands.some((one) => this.#doesMatter(one)));
    this.#matters.set(node, found);
    return found;
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

  /** A gradient in its cases, and 0 in all others. */
  #chosen({ value, cases }: Gradient): PrimitiveNode {
    const zero = this.#number(0);
    return cases.reduceRight((chosen, { condition, holds }) => {
      const sides = holds ? [chosen, zero] : [zero, chosen];
      return this.#do("select", condition, ...sides);
    }, value);
  }

  #sum(a: Gradient, b: Gradient): Gradient {
    if (areSame(a.cases, b.cases)) {
      return { value: this.#do("add", a.value, b.value), cases: a.cases };
    }
    if (areContrary(a.cases, b.cases)) {
      const { condition, holds } = a.cases.at(-1)!, [yes, no] = holds ? [a, b] : [b, a];
      return {
        value: this.#do("select", condition, yes.value, no.value),
        cases: a.cases.slice(0, -1),
      };
    }
    return { value: this.#do("add", this.#chosen(a), this.#chosen(b)), cases: [] };
  }

  /** Adds to the gradient of an operand, where it matters, something that is made of that of the node. */
  #add(
    operand: PrimitiveNode,
    { cases }: Gradient,
    make: () => PrimitiveNode,
    ...more: readonly Case[]
  ): void {
    if (!this.#doesMatter(operand)) return;
    const term = { value: make(), cases: [...cases, ...more] };
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
    this.#add(lo, gradient, same, { condition: isBelow, holds: true });
    this.#add(hi, gradient, same, within, { condition: isAbove, holds: true });
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
    const dScore = this.#dScore(), zero = this.#number(0);
    if (gradient.value === dScore) return this.#chosen(gradient);
    const { value, cases } = gradient;
    const asked = { condition: this.#do("ne", dScore, zero), holds: true };
    return this.#chosen({ value, cases: [asked, ...cases] });
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
