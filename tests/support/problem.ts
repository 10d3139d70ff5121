/**
 * A problem: dense `[B, H, N, D]` queries, keys and values, which the tests hand to an engine in
 * any rank, layout and strides, and whose results they read back dense.
 *
 * @module
 */

import type { AttentionOptions, Layout, Tensor } from "@flashtile/attention";
import { normals, type Random, seeded } from "./random.ts";

/** Sizes of a problem, by their letters in the documentation. */
export interface Sizes {
  readonly B: number;
  readonly Hq: number;
  readonly Hkv: number;
  readonly Nq: number;
  readonly Nk: number;
  readonly D: number;
  readonly Dv: number;
}

/** Dense inputs in the order `[B, H, N, D]`. */
export interface Problem {
  readonly sizes: Sizes;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** The options that change what comes out. */
export interface Meaning extends
  Pick<
    AttentionOptions,
    | ("causal" | "scale" | "window" | "chunk" | "softcap" | "bias" | "mask" | "blockMask")
    | ("scoreMod" | "maskMod")
  > {
  /** Short lists in the forms that the tests' own words read. */
  readonly offset?: number | readonly number[];
  readonly kvLengths?: ArrayLike<number>;
  readonly alibi?: Tensor;
  readonly sinks?: Tensor;
  readonly cuSeqlens?: { readonly q: ArrayLike<number>; readonly k: ArrayLike<number> };
}

/** One number per axis of `[B, H, N, D]`. */
export type Extents = readonly [B: number, H: number, N: number, D: number];

/** Number of elements of a shape. */
export function count(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** Shapes of the tensors of a problem. */
export function shapesOf(sizes: Sizes): Record<"q" | "k" | "v" | "out", Extents> {
  const { B, Hq, Hkv, Nq, Nk, D, Dv } = sizes;
  return { q: [B, Hq, Nq, D], k: [B, Hkv, Nk, D], v: [B, Hkv, Nk, Dv], out: [B, Hq, Nq, Dv] };
}

/** The key that query 0 of each batch is aligned with. */
export function alignment({ sizes }: Problem, { causal, offset }: Meaning): readonly number[] {
  if (typeof offset === "object") return offset;
  const aligned = causal === "top-left" ? 0 : sizes.Nk - sizes.Nq;
  return new Array<number>(sizes.B).fill(offset ?? aligned);
}

/** Fills in what is not said: one batch, one head, as many keys as queries, `Dv = D`. */
export function sizesOf(given: Partial<Sizes> & Pick<Sizes, "Nq" | "D">): Sizes {
  const { B = 1, Hq = 1, Hkv = Hq, Nq, Nk = Nq, D, Dv = D } = given;
  return { B, Hq, Hkv, Nq, Nk, D, Dv };
}

/** A problem of normally distributed numbers. */
export function randomProblem(sizes: Sizes, seed: number | Random, spread = 1): Problem {
  const random = typeof seed === "number" ? seeded(seed) : seed;
  const shapes = shapesOf(sizes);
  const q = normals(count(shapes.q), random, spread);
  const k = normals(count(shapes.k), random, spread);
  const v = normals(count(shapes.v), random);
  return { sizes, q, k, v };
}

/** The three inputs as an engine takes them. */
export interface Inputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/** Contiguous inputs of rank 4. */
export function inputsOf({ sizes, q, k, v }: Problem): Inputs {
  const shapes = shapesOf(sizes);
  return {
    q: { data: q, shape: shapes.q },
    k: { data: k, shape: shapes.k },
    v: { data: v, shape: shapes.v },
  };
}

/** The part `from` to `to` of one axis of a dense array. */
export function slice(
  data: Float32Array,
  shape: readonly number[],
  axis: number,
  from: number,
  to: number,
): Float32Array {
  const inner = count(shape.slice(axis + 1));
  const outer = count(shape.slice(0, axis));
  const result = new Float32Array(outer * (to - from) * inner);
  for (let at = 0; at < outer; at++) {
    const begin = (at * shape[axis] + from) * inner;
    result.set(data.subarray(begin, begin + (to - from) * inner), at * (to - from) * inner);
  }
  return result;
}

/** Where each element of a tensor lies in its `data`, last axis fastest. */
export function placesOf(tensor: Pick<Tensor, "shape" | "strides" | "offset">): number[] {
  const { shape, offset = 0 } = tensor;
  const strides = tensor.strides ?? shape.map((_, axis) => count(shape.slice(axis + 1)));
  let places = [offset];
  shape.forEach((extent, axis) => {
    const steps = Array.from({ length: extent }, (_, index) => index * strides[axis]);
    places = places.flatMap((place) => steps.map((step) => place + step));
  });
  return places;
}

/** The elements of a tensor, dense, in the order of its own axes. */
export function gather(tensor: Tensor): Float32Array {
  const { data } = tensor;
  return Float32Array.from(placesOf(tensor), (place) => data[place]);
}

/** A shape or strides `[B, H, N, D]` as a caller with this rank and layout writes them. */
export function written(axes: readonly number[], rank: number, layout: Layout): number[] {
  const [B, H, N, D] = axes;
  if (rank === 2) return [N, D];
  const inner = layout === "bhnd" ? [H, N, D] : [N, H, D];
  return rank === 3 ? inner : [B, ...inner];
}
