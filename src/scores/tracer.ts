/**
 * How a function becomes a graph: it is run once with nodes in place of numbers, which write down what is done with them.
 * Equal nodes are one.
 *
 * @module
 */

import { bare, kindOf } from "../check/words.ts";
import type { CapturedArray, Kind } from "./kinds.ts";
import { type Method, type Operation, operations, type Signature, wordsOf } from "./operations.ts";

/** Nodes of a function at most. */
export const mostNodes = 4096;

/** What a node was made from. */
export interface Made {
  readonly operation: Operation;
  readonly kind: Kind;
  /** Nodes that it is made of, all of them older. */
  readonly operands: readonly Node[];
  /** A literal's number, an input's name, an array that is read. */
  readonly source?: number | string | CapturedArray;
}

/** What to write in place of an operator of JavaScript's. */
const operators =
  "`a + b` is a.add(b), `q >= k` is q.ge(k), `a && b` is a.and(b), `if` is where(c, a, b)";

/** A number that nobody knows while the function runs. */
export class Node {
  readonly tracer: Tracer;
  readonly made: Made;
  /** Its place among those of the function. */
  readonly id: number;

  constructor(tracer: Tracer, made: Made, id: number) {
    this.tracer = tracer;
    this.made = made;
    this.id = id;
  }

  /** JavaScript's operators ask for a number, and there is none. */
  [Symbol.toPrimitive](): never {
    throw this.tracer.refusal(
      `JavaScript's operators know nothing of ${wordsOf[this.made.kind]}: ${operators}`,
    );
  }

  static {
    for (const [name, signature] of Object.entries<Signature>(operations)) {
      Object.defineProperty(
        Node.prototype,
        name,
        bare({
          value(this: Node, ...given: unknown[]): Node {
            return tracerOf(this).apply(name as Method, signature, this, given);
          },
        }),
      );
    }
  }
}

let current: Tracer | undefined;

/** The function that runs now, whose node it is. */
function tracerOf(node: Node): Tracer {
  if (node.tracer === current) return current;
  const { tracer } = node;
  throw (current ?? tracer).refusal(
    "a node of another call, or of one that is over, cannot be used",
  );
}

/** Reads an array within the function that runs now. */
export function gather(array: CapturedArray, indices: readonly unknown[]): Node {
  if (current !== undefined) return current.gather(array, indices);
  throw new TypeError(
    "Cannot read `at()`: it is for score and mask functions, which `attention()` runs",
  );
}

/**
 * One of two numbers or conditions, element by element. Literals are scores unless the other is a whole number; where both
 * are `true` or `false`, it is a condition.
 */
export function chooseNode(condition: unknown, a: unknown, b: unknown): Node {
  if (current !== undefined) return current.where(condition, a, b);
  throw new TypeError(
    "Cannot choose by `where()`: it is for score and mask functions, which `attention()` runs",
  );
}

/** Writes down one function. */
export class Tracer {
  /** Every node, in the order in which they were made. */
  readonly nodes: Node[] = [];
  /** The name of the option, for messages. */
  readonly #name: string;
  readonly #known = new Map<string, Node>();
  /** Arrays by the order in which they are first read. */
  readonly #arrays = new Map<CapturedArray, number>();

  constructor(name: string) {
    this.#name = name;
  }

  /** Runs the function. */
  run<T>(work: () => T): T {
    const before = current;
    current = this;
    try {
      return work();
    } finally {
      current = before;
    }
  }

  /** Why a function cannot be used. */
  refusal(why: string): TypeError {
    return new TypeError(`Cannot attend: in \`${this.#name}\` ${why}`);
  }

  /** What the function is given. */
  input(name: string, kind: Kind): Node {
    return this.#make({ operation: "input", kind, operands: [], source: name }, name);
  }

  /** A node's method. */
  apply(
    name: Method,
    { of, takes, gives }: Signature,
    self: Node,
    given: readonly unknown[],
  ): Node {
    const { kind } = self.made;
    if (!of.includes(kind)) throw this.refusal(wrongKind(name, of, kind));
    this.#checkCount(name, takes.length, given);
    const others = takes.map((taken, at) =>
      this.#operand(given[at], taken === "same" ? kind : taken, `\`${name}\``)
    );
    return this.#make({
      ...{ operation: name, kind: gives === "same" ? kind : gives },
      operands: [self, ...others],
    });
  }

  /** An element of an array. */
  gather(array: CapturedArray, indices: readonly unknown[]): Node {
    this.#checkCount("at", array.shape.length, indices);
    const operands = indices.map((index) => this.#operand(index, "whole", "an index of `at`"));
    const known = this.#arrays.get(array), place = known ?? this.#arrays.size;
    if (known === undefined) this.#arrays.set(array, place);
    const kind = array.dtype === "f32" ? "score" : "whole";
    return this.#make({ operation: "at", kind, operands, source: array }, `${place}`);
  }

  /** One of two. */
  where(condition: unknown, a: unknown, b: unknown): Node {
    const kind = this.#kindOf(a) ?? this.#kindOf(b) ??
      (typeof a === "boolean" ? "condition" : "score");
    const operands = [
      this.#operand(condition, "condition", "the first of `where`"),
      ...[a, b].map((one) => this.#operand(one, kind, "`where`")),
    ];
    return this.#make({ operation: "where", kind, operands });
  }

  /** What the function gives back. */
  result(returned: unknown, kind: Kind): Node {
    if (typeof (returned as PromiseLike<unknown> | null)?.then === "function") {
      (returned as PromiseLike<unknown>).then(undefined, () => {}); // Nobody else will hear of it.
      throw this.refusal("a promise is given back: it must be done at once, without `async`");
    }
    if (returned === undefined) {
      throw this.refusal(`nothing is given back: \`return\` ${wordsOf[kind]}`);
    }
    return this.#operand(returned, kind, "what is given back");
  }

  #kindOf(value: unknown): Kind | undefined {
    return value instanceof Node ? value.made.kind : undefined;
  }

  #checkCount(name: string, count: number, given: readonly unknown[]): void {
    if (given.length === count) return;
    throw this.refusal(
      `\`${name}\` takes ${count === 1 ? "1 argument" : `${count} arguments`}, got ${given.length}`,
    );
  }

  /** An argument of a kind: a node, or a literal. */
  #operand(value: unknown, kind: Kind, what: string): Node {
    if (!(value instanceof Node)) return this.#literal(value, kind, what);
    tracerOf(value);
    const own = value.made.kind;
    if (own === kind) return value;
    throw this.refusal(
      `${what} must be ${wordsOf[kind]}, got ${wordsOf[own]}${adviceFor(kind, own)}`,
    );
  }

  #literal(value: unknown, kind: Kind, what: string): Node {
    const isRight = kind === "condition" ? typeof value === "boolean" : typeof value === "number";
    if (!isRight) {
      const literal = kind === "condition" ? "a boolean" : "a number";
      throw this.refusal(`${what} must be ${wordsOf[kind]} or ${literal}, got ${kindOf(value)}`);
    }
    const source = Number(value);
    if (kind === "whole" && (source | 0) !== source) {
      throw this.refusal(`${what} must be a whole number of 32 bits, got ${value}`);
    }
    const name = Object.is(source, -0) ? "-0" : `${source}`;
    return this.#make({ operation: "literal", kind, operands: [], source }, name);
  }

  /** The node that is made so, the one that there is already where one is. */
  #make(made: Made, name = ""): Node {
    const key = `${made.operation}/${made.kind}/${name}/${
      made.operands.map(({ id }) => id).join()
    }`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.nodes.length === mostNodes) {
      throw this.refusal(
        `more than ${mostNodes} operations are written down: a table read by \`at\` may say the same`,
      );
    }
    const node = new Node(this, made, this.nodes.length);
    this.nodes.push(node);
    this.#known.set(key, node);
    return node;
  }
}

/** Says which nodes have a method. */
function wrongKind(name: Method, of: readonly Kind[], kind: Kind): string {
  if (name === "div") {
    return `\`div\` is for scores, got ${wordsOf[kind]}: write a.floorDiv(b), or a.toF32().div(b)`;
  }
  const needed = of.map((one) => wordsOf[one]).join(" or ");
  return `\`${name}\` is for ${needed}, got ${wordsOf[kind]}${
    of.length > 1 ? "" : adviceFor(of[0], kind)
  }`;
}

/** How one kind becomes another. */
function adviceFor(needed: Kind, got: Kind): string {
  if (needed === "score" && got === "whole") return ": write .toF32()";
  if (needed === "whole" && got === "score") return ": write .toI32()";
  if (needed === "condition") return ": compare it, as in a.ge(b)";
  return ": write where(condition, a, b)";
}
