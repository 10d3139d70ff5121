/**
 * Random calls of performer attention, and the plain formula in f32 that budgets come from.
 *
 * @module
 */

import type { DType, HostData, Layout, Tensor } from "@flashtile/attention";
import type { PerformerKernel } from "@flashtile/attention/linear";
import { count } from "./problem.ts";
import { normals, type Random, seeded, whole } from "./random.ts";
import { numbersOf, spread, stored } from "./softmax.ts";

const round = Math.fround;

/** A call: tensors as they are written, and their numbers by the axes `[B, H, N, D]`. */
export interface PerformerProblem {
  readonly sizes: Sizes;
  readonly q: Tensor<HostData>;
  readonly k: Tensor<HostData>;
  readonly v: Tensor<HostData>;
  readonly dOut: Tensor<HostData>;
  readonly options: {
    readonly projection: Tensor<HostData>;
    readonly kernel: PerformerKernel;
    readonly causal: boolean;
    readonly scale?: number;
    readonly layout: Layout;
  };
}

/** Extents of a call. */
export interface Sizes {
  readonly B: number;
  readonly Hkv: number;
  readonly group: number;
  readonly Nq: number;
  readonly Nk: number;
  readonly D: number;
  readonly Dv: number;
  readonly R: number;
}

const dtypes: readonly DType[] = ["f32", "f32", "f32", "f16", "bf16"];

function pick<T>(random: Random, list: readonly T[]): T {
  return list[whole(random, 0, list.length - 1)];
}

/** A random call; `most` rows. */
export function randomProblem(seed: number, most: number): PerformerProblem {
  const random = seeded(seed), rank = pick(random, [4, 4, 3, 2]), causal = random() < 0.5;
  const Nq = whole(random, 1, most), heads = rank > 2;
  const sizes: Sizes = {
    B: rank === 4 ? whole(random, 1, 2) : 1,
    ...{ Hkv: heads ? whole(random, 1, 2) : 1, group: heads ? whole(random, 1, 2) : 1 },
    ...{ Nq, Nk: causal ? Nq : whole(random, 0, most) },
    ...{ D: pick(random, [1, 3, 4, 8, 13]), Dv: pick(random, [1, 2, 4, 7, 16]) },
    R: pick(random, [1, 2, 5, 8, 17, 24]),
  };
  const { B, Hkv, group, Nk, D, Dv, R } = sizes, layout = pick(random, ["bhnd", "bnhd"] as const);
  const written = (h: number, n: number, d: number) =>
    (layout === "bhnd" || rank < 3 ? [B, h, n, d] : [B, n, h, d]).slice(4 - rank);
  const make = (shape: readonly number[], size = 1) =>
    spread(normals(count(shape), random, size), shape, pick(random, dtypes), random);
  const size = pick(random, [0.3, 1, 1, 4]), ofHeads = random() < 0.5 && heads ? [Hkv] : [];
  return {
    sizes,
    q: make(written(Hkv * group, Nq, D), size),
    k: make(written(Hkv, Nk, D), size),
    v: make(written(Hkv, Nk, Dv)),
    dOut: make(written(Hkv * group, Nq, Dv)),
    options: {
      projection: make([...ofHeads, R, D]),
      kernel: random() < 0.3 ? "relu" : "softmax",
      ...{ causal, layout, ...(random() < 0.5 && { scale: random() }) },
    },
  };
}

/** Reads a tensor by batch, head, row and column. */
type Read = (b: number, h: number, n: number, d: number) => number;

function readerOf(tensor: Tensor<HostData>, layout: Layout): Read {
  const { shape, offset = 0 } = tensor, missing = 4 - shape.length, numbers = numbersOf(tensor);
  const steps = [...tensor.strides ?? shape.map((_, axis) => count(shape.slice(axis + 1)))];
  const all = [...new Array(missing).fill(0), ...steps];
  if (layout === "bnhd" && shape.length > 2) [all[1], all[2]] = [all[2], all[1]];
  return (b, h, n, d) => numbers[offset + b * all[0] + h * all[1] + n * all[2] + d * all[3]];
}

/** Results and gradients of the plain formula, dense. */
export interface NaiveResults {
  readonly out: Float32Array;
  readonly dq: Float32Array;
  readonly dk: Float32Array;
  readonly dv: Float32Array;
  /** Of each gradient the largest sum of the magnitudes of its terms. */
  readonly terms: Readonly<Record<"dq" | "dk" | "dv", number>>;
  /** The largest number a rounding of which is a relative error of a feature. */
  readonly relative: number;
}

/** Features of a row by the plain formula, by their exponents where these are what they have. */
interface PlainFeatures {
  readonly features: Float32Array;
  /** What a rounding of is a relative error of a feature: its exponent, or what it is a sum of over itself. */
  readonly condition: number;
}

function plainFeatures(
  x: Float32Array,
  w: Read,
  g: number,
  R: number,
  isRelu: boolean,
): PlainFeatures {
  let square = 0, condition = 1;
  for (const one of x) square = round(square + round(one * one));
  const features = Float32Array.from({ length: R }, (_, r) => {
    let dot = 0, terms = 0;
    for (let d = 0; d < x.length; d++) {
      dot = round(dot + round(w(0, g, r, d) * x[d]));
      terms += Math.abs(w(0, g, r, d) * x[d]);
    }
    const feature = isRelu ? round(Math.max(0, dot) + round(1e-3)) : round(dot - round(square / 2));
    condition = Math.max(condition, isRelu ? terms / feature : Math.abs(feature));
    return feature;
  });
  return { features, condition };
}

/** Places of dense rows `[B, H, N, D]`. */
function rowAt(H: number, N: number, D: number, b: number, h: number, n: number): number {
  return ((b * H + h) * N + n) * D;
}

/** Performer attention and its gradients by the plain formula in f32: every product of features, every step rounded. */
export function naivePerformer({ sizes, q, k, v, dOut, options }: PerformerProblem): NaiveResults {
  const { B, Hkv, group, Nq, Nk, D, Dv, R } = sizes, { causal, kernel, layout } = options;
  const root = round(Math.sqrt(options.scale ?? 1 / Math.sqrt(D))), isRelu = kernel === "relu";
  const [Q, K, V, dO] = [q, k, v, dOut].map((tensor) => readerOf(tensor, layout));
  const { projection } = options, ofHeads = projection.shape.length === 3;
  const read = readerOf(projection, "bhnd"),
    w: Read = (_, g, r, d) => read(0, ofHeads ? g : 0, r, d);
  const Hq = Hkv * group, out = new Float32Array(B * Hq * Nq * Dv);
  const dq = new Float32Array(B * Hq * Nq * D), dk = new Float32Array(B * Hkv * Nk * D);
  const dv = new Float32Array(B * Hkv * Nk * Dv), ofValues = new Float32Array(dv.length);
  const terms = { dq: 0, dk: 0, dv: 0 };
  let relative = 1;
  const featuresOf = (x: Float32Array, g: number) => {
    const { features, condition } = plainFeatures(x, w, g, R, isRelu);
    relative = Math.max(relative, condition);
    return features;
  };
  const rowOf = (x: Read, b: number, h: number, n: number) =>
    Float32Array.from({ length: D }, (_, d) => round(root * x(b, h, n, d)));
  const add = (to: Float32Array, at: number, x: number) => {
    to[at] = round(to[at] + x);
  };
  for (let b = 0; b < B; b++) {
    for (let g = 0; g < Hkv; g++) {
      const keys = Array.from({ length: Nk }, (_, j) => rowOf(K, b, g, j));
      const ofKeys = keys.map((key) => featuresOf(key, g));
      const dKeys = ofKeys.map(() => new Float32Array(R)),
        sizeOf = ofKeys.map(() => new Float32Array(R));
      for (let h = g * group; h < (g + 1) * group; h++) {
        for (let i = 0; i < Nq; i++) {
          const row = rowOf(Q, b, h, i), a = featuresOf(row, g);
          const seen = causal ? i + 1 : Nk, at = rowAt(Hq, Nq, Dv, b, h, i);
          let shift = -Infinity, l = 0;
          const sums = Array.from(
            { length: seen },
            (_, j) => a.map((x, r) => round(x + ofKeys[j][r])),
          );
          for (const one of sums) for (const x of one) shift = Math.max(shift, x);
          const products = sums.map((one, j) =>
            one.map((x, r) =>
              isRelu ? round(a[r] * ofKeys[j][r]) : round(Math.exp(round(x - shift)))
            )
          );
          const weights = products.map((one) => one.reduce((sum, x) => round(sum + x), 0));
          for (const weight of weights) l = round(l + weight);
          if (l === 0) continue;
          weights.forEach((weight, j) => {
            for (let d = 0; d < Dv; d++) add(out, at + d, round(round(weight / l) * V(b, g, j, d)));
          });
          let delta = 0;
          for (let d = Dv - 1; d >= 0; d--) {
            delta = round(delta + round(dO(b, h, i, d) * out[at + d]));
          }
          const dRow = new Float32Array(R), ofRow = new Float32Array(R);
          weights.forEach((weight, j) => {
            let product = 0, magnitude = Math.abs(delta);
            for (let d = 0; d < Dv; d++) {
              product = round(product + round(dO(b, h, i, d) * V(b, g, j, d)));
              magnitude += Math.abs(dO(b, h, i, d) * V(b, g, j, d));
            }
            const p = round(weight / l), toValues = rowAt(Hkv, Nk, Dv, b, g, j);
            for (let d = 0; d < Dv; d++) {
              add(dv, toValues + d, round(p * dO(b, h, i, d)));
              ofValues[toValues + d] += Math.abs(p * dO(b, h, i, d));
            }
            for (let r = 0; r < R; r++) {
              const dOne = round(round(products[j][r] / l) * round(product - delta));
              add(dRow, r, dOne);
              add(dKeys[j], r, dOne);
              const size = products[j][r] / l * magnitude;
              ofRow[r] += size;
              sizeOf[j][r] += size;
            }
          });
          const size = throughNaive(
            { x: row, a, dA: dRow, sizes: ofRow, root, isRelu },
            (r, d) => w(0, g, r, d),
            (d, x) => add(dq, rowAt(Hq, Nq, D, b, h, i) + d, x),
          );
          terms.dq = Math.max(terms.dq, size);
        }
      }
      keys.forEach((x, j) => {
        const size = throughNaive(
          { x, a: ofKeys[j], dA: dKeys[j], sizes: sizeOf[j], root, isRelu },
          (r, d) => w(0, g, r, d),
          (d, y) => add(dk, rowAt(Hkv, Nk, D, b, g, j) + d, y),
        );
        terms.dk = Math.max(terms.dk, size);
      });
    }
  }
  terms.dv = ofValues.reduce((most, x) => Math.max(most, x), 0);
  return { out, dq, dk, dv, terms, relative };
}

/** From gradients by exponents to those by a row; gives the largest sum of magnitudes. */
function throughNaive(
  { x, a, dA, sizes, root, isRelu }: {
    readonly x: Float32Array;
    readonly a: Float32Array;
    readonly dA: Float32Array;
    readonly sizes: Float32Array;
    readonly root: number;
    readonly isRelu: boolean;
  },
  w: (r: number, d: number) => number,
  add: (d: number, x: number) => void,
): number {
  const magnitudes = new Float32Array(x.length);
  for (let r = 0; r < a.length; r++) {
    const isAbove = a[r] > round(1e-3);
    for (let d = 0; d < x.length; d++) {
      const slope = isRelu ? (isAbove ? round(w(r, d) / a[r]) : 0) : round(w(r, d) - x[d]);
      add(d, round(round(root * slope) * dA[r]));
      magnitudes[d] += root * sizes[r] *
        (isRelu ? Math.abs(slope) : Math.abs(w(r, d)) + Math.abs(x[d]));
    }
  }
  return magnitudes.reduce((most, one) => Math.max(most, one), 0);
}

/** The numbers of a result in the order of `[B, H, N, D]`. */
export function denseOf(
  { data, shape, dtype }: Tensor<HostData>,
  layout: Layout,
): Float32Array {
  const numbers = numbersOf({ data, shape, dtype }), rank = shape.length;
  if (layout === "bhnd" || rank < 3) return numbers;
  const [B, N, H, D] = [...new Array(4 - rank).fill(1), ...shape];
  const dense = new Float32Array(numbers.length);
  for (let index = 0; index < numbers.length; index++) {
    const d = index % D, h = Math.floor(index / D) % H, n = Math.floor(index / D / H) % N;
    dense[rowAt(H, N, D, Math.floor(index / D / H / N) % B, h, n) + d] = numbers[index];
  }
  return dense;
}

/** Contiguous random rows in a storage. */
export function rows(
  shape: readonly number[],
  seed: number,
  size = 1,
  dtype: DType = "f32",
): Tensor<HostData> {
  return { data: stored(normals(count(shape), seeded(seed), size), dtype), shape, dtype };
}
