/**
 * Random calls of the functions that attend to keys which they make: Linformer's, and those of blocks and summaries. With
 * the plain formulas in f32 that budgets come from.
 *
 * @module
 */

import type { DType, HostData, Layout, Tensor } from "@flashtile/attention";
import { type Arrays, relatives, type Tensors } from "./family.ts";
import { rewrite } from "./family_calls.ts";
import { naiveAttention, type Results } from "./naive.ts";
import { naiveAttentionBackward } from "./naive_backward.ts";
import { count, type Meaning, type Problem, shapesOf, type Sizes } from "./problem.ts";
import { normals, type Random, seeded, whole } from "./random.ts";
import { numbersOf, spread, stored } from "./softmax.ts";

/** The functions. */
export type Kind = "linformer" | "localGlobal";

/** A contiguous tensor of f32. */
export interface Dense {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** A call: its numbers, and how they are written. */
export interface MadeCall {
  readonly kind: Kind;
  readonly sizes: Sizes;
  readonly rank: number;
  readonly layout: Layout;
  /** By the names of arguments and options, of rank 4 where they have batches. */
  readonly inputs: Readonly<Record<string, Dense>>;
  readonly dtypes: Readonly<Record<string, DType>>;
  /** Those that are no tensors. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly random: Random;
}

const round = Math.fround;

const dtypes = ["f32", "f32", "f32", "f16", "bf16"] as const;
const dims = [1, 2, 3, 4, 5, 8, 16, 17, 32, 64], rows = [1, 2, 7, 8, 9, 31, 40, 65, 130, 200];

function oneOf<T>(list: readonly T[], random: Random): T {
  return list[whole(random, 0, list.length - 1)];
}

/** Numbers as a storage has them. */
export function roundedTo(numbers: Float32Array, dtype: DType): Float32Array {
  return numbersOf({ data: stored(numbers, dtype), shape: [numbers.length], dtype });
}

function drawSizes(kind: Kind, rank: number, random: Random): Sizes {
  const B = rank === 4 ? whole(random, 1, 2) : 1, Hkv = rank === 2 ? 1 : whole(random, 1, 2);
  const Hq = rank === 2 ? 1 : Hkv * whole(random, 1, 2), Nk = oneOf(rows, random);
  const Nq = kind === "linformer" ? oneOf(rows, random) : Nk;
  return { B, Hq, Hkv, Nq, Nk, D: oneOf(dims, random), Dv: oneOf(dims, random) };
}

/** Tensors among the options, and the others. */
function drawOptions(kind: Kind, sizes: Sizes, rank: number, random: Random) {
  const { Hkv, Nk, D } = sizes;
  const perHead = rank > 2 && random() < 0.5 ? [Hkv] : [];
  const scale = random() < 0.5 ? {} : { scale: oneOf([0.3, -0.2, 1, 0], random) / Math.sqrt(D) };
  const draw = (name: string, ...shape: number[]) => drawInput(name, shape, sizes, random);
  if (kind === "linformer") {
    const r = oneOf([1, 3, 8, 13, 30], random), columns = Nk + oneOf([0, 0, 3], random);
    const projectV = random() < 0.6 ? { projectV: draw("projectV", r, columns) } : {};
    const projectK = draw("projectK", ...perHead, r, columns);
    return { tensors: { projectK, ...projectV }, plain: scale };
  }
  const block = oneOf([1, 2, 3, 8, 16, 31, 64, 200], random), causal = random() < 0.5;
  const tensors = random() < 0.6 ? { pool: draw("pool", ...perHead, block) } : {};
  return { tensors, plain: { ...scale, block, causal } };
}

/** A random call. */
export function randomCall(kind: Kind, seed: number): MadeCall {
  const random = seeded(seed), rank = oneOf([2, 3, 4, 4], random);
  const sizes = drawSizes(kind, rank, random), shapes = shapesOf(sizes);
  const { tensors, plain } = drawOptions(kind, sizes, rank, random);
  const draw = (shape: readonly number[]) => ({ data: normals(count(shape), random), shape });
  const all: Record<string, Dense> = {
    ...{ q: draw(shapes.q), k: draw(shapes.k), v: draw(shapes.v) },
    ...(tensors as Record<string, Dense>),
  };
  const kinds: Record<string, DType> = {};
  for (const [name, { data, shape }] of Object.entries(all)) {
    kinds[name] = oneOf(dtypes, random);
    all[name] = { data: roundedTo(data, kinds[name]), shape };
  }
  const layout = random() < 0.5 ? "bhnd" : "bnhd";
  return { kind, sizes, rank, layout, inputs: all, dtypes: kinds, options: plain, random };
}

/** Numbers of an input: mixtures have the magnitude of what is mixed, pools are above 0. */
function drawInput(name: string, shape: readonly number[], { Nk }: Sizes, random: Random): Dense {
  const spread = name.startsWith("project") ? 1 / Math.sqrt(Nk) : 1;
  const data = normals(count(shape), random, spread);
  return { data: name === "pool" ? data.map((x) => round(0.2 + x * x)) : data, shape };
}

/** Elements of the largest input of similar calls together. */
const mostElements = 8000;

/**
 * The call and others like it, of the same sizes and other numbers: so many that each input has some rows, since over
 * a few the plain formula is exact by luck.
 */
export function withSimilar(call: MadeCall, least = 64): MadeCall[] {
  const { inputs, sizes, dtypes, random } = call;
  const lengths = Object.values(inputs).map(({ data }) => data.length);
  // What rounding does to a row it does to all of its numbers.
  const rows = Math.min(
    ...Object.values(inputs).map(({ data, shape }) =>
      shape.length === 1 ? data.length : data.length / shape.at(-1)!
    ),
  );
  const needed = Math.ceil(Math.min(16, 32 / rows)); // However long the oracle takes.
  const most = Math.max(needed, Math.ceil(mostElements / Math.max(...lengths)));
  const wanted = Math.ceil(least / rows);
  const others = Array.from({ length: Math.min(wanted, most) - 1 }, (): MadeCall => {
    const drawn = Object.entries(inputs).map(([name, { shape }]) => {
      const { data } = drawInput(name, shape, sizes, random);
      return [name, { data: roundedTo(data, dtypes[name]), shape }] as const;
    });
    return { ...call, inputs: Object.fromEntries(drawn) };
  });
  return [call, ...others];
}

/** Whether a tensor has the axes of queries. */
function isLaidOut(name: string): boolean {
  return ["q", "k", "v", "dOut"].includes(name);
}

/** A tensor as its caller writes it, in whatever strides. */
export function present(
  { rank, layout, random }: MadeCall,
  name: string,
  { data, shape }: Dense,
  dtype: DType,
): Tensor<HostData> {
  const written = isLaidOut(name) ? rewrite({ data, shape }, rank, layout) : { data, shape };
  return spread(written.data as Float64Array, written.shape as number[], dtype, random);
}

/** Everything that a caller writes. */
export interface Written {
  readonly q: Tensor<HostData>;
  readonly k: Tensor<HostData>;
  readonly v: Tensor<HostData>;
  readonly options: Readonly<Record<string, unknown>>;
}

/** A call as it is written. */
export function writtenOf(call: MadeCall): Written {
  const { inputs, dtypes, options, layout } = call;
  const names = Object.keys(inputs).map((name) =>
    [name, present(call, name, inputs[name], dtypes[name])] as const
  );
  const { q, k, v, ...tensors } = Object.fromEntries(names);
  return { q, k, v, options: { ...options, ...tensors, layout } };
}

/** A result's numbers in the order `[B, H, N, D]`. */
export function denseOf({ rank, layout }: MadeCall, tensor: Tensor<HostData>): Float32Array {
  const numbers = numbersOf(tensor);
  if (layout === "bhnd" || rank < 3) return numbers;
  const [B, N, H, D] = [1, ...tensor.shape].slice(-4);
  return Float32Array.from(
    rewrite({ data: numbers, shape: [B, N, H, D] }, 4, "bnhd").data as Float64Array,
  );
}

/** What the oracle gives, in the order `[B, H, N, D]`. */
export function exact({ kind, inputs, options }: MadeCall): Arrays {
  return relatives[kind].forward(inputs as Tensors, options);
}

/** The gradients that the oracle gives. */
export function exactGradients(
  { kind, inputs, options }: MadeCall,
  dOut: Dense,
  dLse?: Dense,
): Arrays {
  return relatives[kind].backward(inputs as Tensors, dOut, { ...options, ...(dLse && { dLse }) });
}

/** Rows that are made of rows: the weight of row `n` in row `m` of a head. */
interface Making {
  readonly made: number;
  weight(head: number, m: number, n: number): number;
}

function makingOf({ kind, inputs, options, sizes }: MadeCall, name: "k" | "v"): Making {
  if (kind === "linformer") {
    const { data, shape } = (name === "v" ? inputs.projectV : undefined) ?? inputs.projectK;
    const [r, columns] = shape.slice(-2), perHead = shape.length === 3 ? r * columns : 0;
    return { made: r, weight: (head, m, n) => data[head * perHead + m * columns + n] };
  }
  const block = options.block as number, { pool } = inputs, { Nk } = sizes;
  const perHead = pool?.shape.length === 2 ? block : 0;
  const poolOf = (head: number, t: number) =>
    pool === undefined ? 1 : pool.data[head * perHead + t];
  return {
    made: Math.ceil(Nk / block),
    weight(head, m, n) {
      if (Math.floor(n / block) !== m) return 0;
      let sum = 0;
      for (let t = m * block; t < Math.min(Nk, (m + 1) * block); t++) {
        sum = round(sum + poolOf(head, t - m * block));
      }
      return round(poolOf(head, n - m * block) / sum);
    },
  };
}

/** Rows made of others by the plain formula in f32. */
function make({ data, shape: [B, H, N, D] }: Dense, { made, weight }: Making): Float32Array {
  const out = new Float32Array(B * H * made * D);
  for (let head = 0; head < B * H; head++) {
    for (let m = 0; m < made; m++) {
      for (let n = 0; n < N; n++) {
        const w = weight(head % H, m, n);
        if (w === 0) continue;
        for (let d = 0; d < D; d++) {
          const at = (head * made + m) * D + d;
          out[at] = round(out[at] + round(w * data[(head * N + n) * D + d]));
        }
      }
    }
  }
  return out;
}

/** Rows behind others, head by head. */
function behind(first: Float32Array, second: Float32Array, heads: number): Float32Array {
  const [a, b] = [first.length / heads, second.length / heads],
    all = new Float32Array(heads * (a + b));
  for (let head = 0; head < heads; head++) {
    all.set(first.subarray(head * a, (head + 1) * a), head * (a + b));
    all.set(second.subarray(head * b, (head + 1) * b), head * (a + b) + a);
  }
  return all;
}

/** A call as plain attention to what is made. */
function plainOf(call: MadeCall): { problem: Problem; meaning: Meaning } {
  const { kind, sizes, inputs: { q, k, v }, options } = call, { B, Hkv, Nk } = sizes;
  const makingK = makingOf(call, "k"),
    madeK = make(k, makingK),
    madeV = make(v, makingOf(call, "v"));
  const scale = options.scale as number | undefined, { made } = makingK;
  const meaning = scale === undefined ? {} : { scale };
  if (kind === "linformer") {
    const problem = { sizes: { ...sizes, Nk: made }, q: q.data, k: madeK, v: madeV };
    return { problem, meaning };
  }
  const keys = made + Nk, data = new Uint8Array(Nk * keys), block = options.block as number;
  for (let i = 0; i < Nk; i++) {
    const own = Math.floor(i / block);
    for (let m = 0; m < made; m++) data[i * keys + m] = Number(!options.causal || m < own);
    for (let j = 0; j < Nk; j++) {
      const isOwn = Math.floor(j / block) === own && (!options.causal || j <= i);
      data[i * keys + made + j] = Number(isOwn);
    }
  }
  const [all, values] = [behind(madeK, k.data, B * Hkv), behind(madeV, v.data, B * Hkv)];
  const problem = { sizes: { ...sizes, Nk: keys }, q: q.data, k: all, v: values };
  return { problem, meaning: { ...meaning, mask: { data, shape: [Nk, keys] } } };
}

/** The plain formula in f32. */
export function naive(call: MadeCall): Results<Float32Array> {
  const { problem, meaning } = plainOf(call);
  return naiveAttention(problem, meaning);
}

/** Its gradients, from those by the result, which is stored in `dtype`. */
export function naiveGradients(
  call: MadeCall,
  cotangents: { readonly dOut: Float32Array; readonly dLse?: Float32Array },
): Record<string, Float32Array> {
  const { problem, meaning } = plainOf(call), { kind, inputs } = call;
  const { dq, dk, dv } = naiveAttentionBackward(problem, meaning, cotangents, call.dtypes.q);
  const through = { k: throughMaking(call, "k", dk), v: throughMaking(call, "v", dv) };
  const gradients = { dq, dk: through.k.dx, dv: through.v.dx };
  if (kind === "linformer") {
    const [ofK, ofV] = [through.k.dWeights, through.v.dWeights];
    if (inputs.projectV) return { ...gradients, dProjectK: ofK, dProjectV: ofV };
    return { ...gradients, dProjectK: ofK.map((x, at) => round(x + ofV[at])) };
  }
  if (!inputs.pool) return gradients;
  const dPool = through.k.dWeights.map((x, at) => round(x + through.v.dWeights[at]));
  return { ...gradients, dPool };
}

/** From gradients by what was made to those of what it was made of, and of the weights. */
function throughMaking(call: MadeCall, name: "k" | "v", given: Float32Array) {
  const { inputs, kind, options } = call, { data, shape: [B, H, N, D] } = inputs[name];
  const making = makingOf(call, name), { made, weight } = making, isBehind = kind === "localGlobal";
  const total = made + (isBehind ? N : 0), dx = new Float32Array(data.length);
  const weights = kind === "linformer"
    ? (name === "v" ? inputs.projectV : undefined) ?? inputs.projectK
    : inputs.pool;
  const dWeights = new Float32Array(weights?.data.length ?? 0);
  const add = (sums: Float32Array, at: number, x: number) => sums[at] = round(sums[at] + round(x));
  for (let head = 0; head < B * H; head++) {
    for (let n = 0; isBehind && n < N * D; n++) {
      dx[head * N * D + n] = given[(head * total + made) * D + n];
    }
    for (let m = 0; m < made; m++) {
      const products = new Float32Array(N), shares = new Float32Array(N);
      for (let n = 0; n < N; n++) {
        const w = weight(head % H, m, n);
        shares[n] = w;
        if (isBehind && Math.floor(n / (options.block as number)) !== m) continue;
        for (let d = 0; d < D; d++) {
          const g = given[(head * total + m) * D + d];
          add(dx, (head * N + n) * D + d, w * g);
          add(products, n, g * data[(head * N + n) * D + d]);
        }
      }
      addWeights(call, weights, dWeights, { head: head % H, m, products, shares });
    }
  }
  return { dx, dWeights };
}

function addWeights(
  { kind, options, sizes: { Nk } }: MadeCall,
  weights: Dense | undefined,
  dWeights: Float32Array,
  { head, m, products, shares }: {
    readonly head: number;
    readonly m: number;
    readonly products: Float32Array;
    readonly shares: Float32Array;
  },
): void {
  if (weights === undefined) return;
  if (kind === "linformer") {
    const [r, columns] = weights.shape.slice(-2);
    const first = (weights.shape.length === 3 ? head * r : 0) + m;
    products.forEach((x, n) => {
      dWeights[first * columns + n] = round(dWeights[first * columns + n] + x);
    });
    return;
  }
  const block = options.block as number, from = m * block, to = Math.min(Nk, from + block);
  const first = weights.shape.length === 2 ? head * block : 0;
  let sum = 0, mean = 0;
  for (let n = from; n < to; n++) sum = round(sum + weights.data[first + n - from]);
  for (let n = from; n < to; n++) mean = round(mean + round(shares[n] * products[n]));
  for (let n = from; n < to; n++) {
    const at = first + n - from;
    dWeights[at] = round(dWeights[at] + round(round(products[n] - mean) / sum));
  }
}
