/**
 * Errors of `precision` against the oracle: root mean squares over those of the exact result, of normally distributed numbers.
 *
 * @module
 */

import { type Engine, type Precision, type Tensor, tensor } from "../mod.ts";
import { referenceAttention } from "../src/reference/mod.ts";
import { precisions } from "./precisions.ts";

/** Self-attention of one sequence. */
export interface Shape {
  readonly length: number;
  readonly dim: number;
  readonly causal: boolean;
}

/** What the inputs of a case are like. */
export interface Kind {
  readonly name: string;
  change(x: { q: Float32Array; k: Float32Array; v: Float32Array }, dim: number): void;
}

/** Cases, the usual one first. */
export const kinds: readonly Kind[] = [
  { name: "normal", change() {} },
  { name: "q x 3", change: ({ q }) => q.forEach((x, at) => q[at] = 3 * x) },
  {
    name: "outlier channels",
    change: ({ k }, dim) =>
      k.forEach((x, at) => {
        if (at % dim % 16 === 3) k[at] = 4 * x + (at & 32 ? 20 : -20);
      }),
  },
  { name: "v + 1", change: ({ v }) => v.forEach((x, at) => v[at] = x + 1) },
];

/** Numbers of a normal distribution, the same in every run (Box and Muller). */
function normals(length: number, seed: number): Float32Array {
  let state = seed;
  const next = () => (state = state * 48271 % 2147483647) / 2147483647;
  for (let at = 0; at < 20; at++) next();
  return Float32Array.from(
    { length },
    () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** Queries, keys and values of so many heads. */
export function inputsOf(
  heads: number,
  { length, dim }: Shape,
  { change }: Kind = kinds[0],
): Tensor[] {
  const [q, k, v] = [1, 2, 3].map((seed) => normals(heads * length * dim, seed));
  change({ q, k, v }, dim);
  return [q, k, v].map((data) => tensor(data, [heads, length, dim]));
}

/** Rows whose results are compared: the oracle takes its time. */
const comparedRows = 128;

/** What was found for a case. */
export interface Errors {
  readonly shape: Shape;
  readonly kind: string;
  readonly errors: Readonly<Record<Precision, number>>;
}

/** Errors of every precision. */
export async function errorsOf(engine: Engine, shape: Shape, kind: Kind): Promise<Errors> {
  const [q, k, v] = inputsOf(1, shape, kind), { causal, length, dim } = shape;
  const rows = {
    ...q,
    shape: [1, comparedRows, dim],
    strides: [0, length / comparedRows * dim, 1],
  };
  // Causal rows are compared where they are: some rows one after the other, of all lengths.
  const options = causal ? { causal, offset: length - comparedRows } : {};
  const asked = causal ? { ...q, shape: [1, comparedRows, dim] } : rows;
  const exact = referenceAttention(asked, k, v, options).out.data;
  const errors: Partial<Record<Precision, number>> = {};
  for (const precision of precisions) {
    const { out } = await engine.attention(asked, k, v, { ...options, precision });
    let difference = 0, size = 0;
    out.data.forEach((x, at) => {
      difference += (x - exact[at]) ** 2;
      size += exact[at] ** 2;
    });
    errors[precision] = Math.sqrt(difference / size);
  }
  return { shape, kind: kind.name, errors: errors as Errors["errors"] };
}
