/**
 * Random calls of the relatives of attention, and other ways to write them.
 *
 * @module
 */

import type { Layout } from "@flashtile/attention";
import type { ReferenceTensor } from "@flashtile/attention/reference";
import { type FamilyOptions, type Kind, relatives, type Tensors } from "./family.ts";
import { count } from "./problem.ts";
import { normals, type Random, seeded, shuffled, whole } from "./random.ts";

/** A call of one of the functions: contiguous tensors, of rank 4 where they have heads. */
export interface FamilyCall {
  readonly kind: Kind;
  readonly inputs: Tensors;
  readonly options: FamilyOptions;
  /** For what else there is to draw. */
  readonly random: Random;
}

/** Names of the functions. */
export const kinds = Object.keys(relatives) as Kind[];

/** Those that attend, with heads that share keys and values. */
export const attending: readonly Kind[] = ["linformer", "performer", "localGlobal"];

/** Those whose tensors have heads. */
export const withHeads: readonly Kind[] = [
  ...attending,
  "lightweightConvolution",
  "dynamicConvolution",
];

/** Whether the axes of a tensor are `[B, H, N, D]`, in the rank and layout of the call. */
export function isLaidOut(kind: Kind, name: string): boolean {
  return ["q", "k", "v", "dOut"].includes(name) ||
    (kind === "dynamicConvolution" && name === "weights");
}

/** Axes of what is given for each head, of heads alone: with one less it is shared. */
export const axesPerHead: Readonly<Record<string, number>> = {
  ...{ projectK: 3, projectV: 3, projection: 3, pool: 2, weights: 2 },
};

/** Random numbers, in float64. */
export function randomTensor(random: Random, ...shape: number[]): ReferenceTensor {
  return { data: Float64Array.from(normals(count(shape), random)), shape };
}

type Drawn = Pick<FamilyCall, "inputs" | "options">;

function drawSoftmax(random: Random): Drawn {
  const rank = whole(random, 1, 4), shape = Array.from({ length: rank }, () => whole(random, 1, 5));
  const axis = whole(random, -rank, rank - 1), scale = 2 * random() - 1;
  const ofMask = shape.map((n) => random() < 0.3 ? 1 : n).slice(whole(random, 0, rank - 1));
  const data = Uint8Array.from({ length: count(ofMask) }, () => random() < 0.7 ? 1 : 0);
  const options = { axis, scale, ...(random() < 0.7 && { mask: { data, shape: ofMask } }) };
  return { inputs: { x: randomTensor(random, ...shape) }, options };
}

function drawAttention(random: Random, square = false) {
  const [B, Hkv, group, D] = [2, whole(random, 1, 2), whole(random, 1, 2), whole(random, 1, 3)];
  const Nk = whole(random, 1, 7), Nq = square ? Nk : whole(random, 1, 7);
  const q = randomTensor(random, B, Hkv * group, Nq, D), k = randomTensor(random, B, Hkv, Nk, D);
  const v = randomTensor(random, B, Hkv, Nk, whole(random, 1, 3));
  const ofHeads = random() < 0.5 ? [] : [Hkv];
  return { q, k, v, ofHeads, Nk, D, scale: random() < 0.5 ? {} : { scale: random() } };
}

const draw: Readonly<Record<Kind, (random: Random) => Drawn>> = {
  softmax: drawSoftmax,
  logSoftmax: drawSoftmax,
  logSumExp: drawSoftmax,
  linformer: (random) => {
    const { q, k, v, ofHeads, Nk, scale } = drawAttention(random), rows = whole(random, 1, 4);
    const columns = Nk + whole(random, 0, 2);
    const projectK = randomTensor(random, ...ofHeads, rows, columns);
    const projectV = randomTensor(random, rows, columns);
    const inputs = { q, k, v, projectK, ...(random() < 0.5 && { projectV }) };
    return { inputs, options: scale };
  },
  performer: (random) => {
    const { q, k, v, ofHeads, D, scale } = drawAttention(random), causal = random() < 0.5;
    const projection = randomTensor(random, ...ofHeads, whole(random, 1, 6), D);
    const kernel = random() < 0.5 ? "softmax" : "relu";
    return { inputs: { q, k, v, projection }, options: { ...scale, causal, kernel } };
  },
  lightweightConvolution: (random) => {
    const v = randomTensor(random, 2, 3, whole(random, 1, 7), 2), W = 2 * whole(random, 0, 4) + 1;
    const causal = random() < 0.5;
    return { inputs: { v, weights: randomTensor(random, 3, W) }, options: { causal } };
  },
  dynamicConvolution: (random) => {
    const [B, H, N, W] = [2, 2, whole(random, 1, 7), 2 * whole(random, 0, 4) + 1];
    const v = randomTensor(random, B, H, N, 3), causal = random() < 0.5;
    return { inputs: { v, weights: randomTensor(random, B, H, N, W) }, options: { causal } };
  },
  localGlobal: (random) => {
    const { q, k, v, ofHeads, scale } = drawAttention(random, true), causal = random() < 0.5;
    const block = whole(random, 1, 5), { data, shape } = randomTensor(random, ...ofHeads, block);
    const pool = { data: Float64Array.from(data, Math.exp), shape };
    const inputs = { q, k, v, ...(random() < 0.7 && { pool }) };
    return { inputs, options: { ...scale, block, causal } };
  },
};

/** A small call, of random sizes and options. */
export function randomCall(kind: Kind, seed: number): FamilyCall {
  const random = seeded(seed);
  return { kind, ...draw[kind](random), random };
}

/** Something made of each tensor. */
export function mapTensors(
  tensors: Tensors,
  make: (tensor: ReferenceTensor, name: string) => ReferenceTensor,
): Tensors {
  return Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, make(t, name)]));
}

/** The first elements of a tensor, as many as another shape has. */
function firstOf({ data }: ReferenceTensor, shape: readonly number[]): ReferenceTensor {
  return { data: Float64Array.from(Array.from(data).slice(0, count(shape))), shape };
}

/** The call of one batch, and of rank 2 of one head, that can be written with this rank. */
export function fitRank({ inputs, ...call }: FamilyCall, rank: number): FamilyCall {
  const fit = (tensor: ReferenceTensor, name: string) => {
    const { shape } = tensor;
    if (isLaidOut(call.kind, name)) {
      return firstOf(tensor, shape.map((n, axis) => axis < 4 - rank ? 1 : n));
    }
    const isPerHead = shape.length === axesPerHead[name];
    return isPerHead && rank === 2 ? firstOf(tensor, [1, ...shape.slice(1)]) : tensor;
  };
  return { ...call, inputs: mapTensors(inputs, fit) };
}

/** A contiguous tensor of rank 4 as it is written with another rank and layout. */
export function rewrite(
  { data, shape }: ReferenceTensor,
  rank: number,
  layout: Layout,
): ReferenceTensor {
  if (layout === "bhnd" || rank < 3) return { data, shape: shape.slice(4 - rank) };
  const [B, H, N, D] = shape, written = new Float64Array(data.length);
  for (let at = 0; at < data.length; at++) {
    const d = at % D, n = Math.floor(at / D) % N;
    const h = Math.floor(at / D / N) % H, b = Math.floor(at / D / N / H);
    written[((b * N + n) * H + h) * D + d] = data[at];
  }
  return { data: written, shape: [B, N, H, D].slice(4 - rank) };
}

/** The same tensor in other strides, with NaN between its elements. */
export function scatter({ data, shape }: ReferenceTensor, random: Random): ReferenceTensor {
  const strides = shape.map(() => 0), offset = whole(random, 0, 3);
  let unit = whole(random, 1, 2);
  for (const axis of shuffled(shape.length, random)) {
    strides[axis] = unit;
    unit = unit * shape[axis] + whole(random, 0, 2);
  }
  const scattered = new Float64Array(offset + unit + 1).fill(NaN);
  Array.from(data).forEach((x, index) => {
    let place = offset;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += index % shape[axis] * strides[axis];
      index = Math.floor(index / shape[axis]);
    }
    scattered[place] = x;
  });
  return { data: scattered, shape, strides, offset };
}
