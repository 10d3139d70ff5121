/**
 * The oracle of `linformerAttention()`.
 *
 * @module
 */

import type { Layout } from "../tensor/tensor.ts";
import { referenceAttentionBackward } from "./backward.ts";
import { refuseUnknown } from "./call.ts";
import { referenceAttention, type ReferenceResult } from "./forward.ts";
import {
  axesOf,
  type ReferenceArray,
  type ReferenceTensor,
  type Sums,
  withRows,
  zeros,
} from "./tensor.ts";

/** Options of `referenceLinformerAttention()`. */
export interface ReferenceLinformerOptions {
  /**
   * What makes `r` keys of all keys: `[r, N]` for all heads, or `[Hkv, r, N]`. Of the `N` columns the
   * first `Nk` are used.
   */
  readonly projectK: ReferenceTensor;
  /** The same for values; `projectK` by default. */
  readonly projectV?: ReferenceTensor | undefined;
  /** What scores are multiplied by; `1 / sqrt(D)` by default. */
  readonly scale?: number | undefined;
  /** Order of the axes; `"bhnd"` by default. */
  readonly layout?: Layout | undefined;
  /** Ignored: `lse` is always there. */
  readonly lse?: boolean | undefined;
}

/** Options of `referenceLinformerAttentionBackward()`. */
export interface ReferenceLinformerBackwardOptions extends ReferenceLinformerOptions {
  /** Gradient with respect to `lse`, `[B, Hq, Nq]`; zeros where it is not given. */
  readonly dLse?: ReferenceTensor | undefined;
}

/** The oracle's gradients, each in the shape and layout of what it is by, contiguous. */
export interface ReferenceLinformerGradients {
  /** By `q`. */
  readonly dq: ReferenceArray;
  /** By `k`: query heads of a group are summed. */
  readonly dk: ReferenceArray;
  /** By `v`, likewise. */
  readonly dv: ReferenceArray;
  /** By `projectK`, 0 in columns that are not used; by both its uses where there is no `projectV`. */
  readonly dProjectK: ReferenceArray;
  /** By `projectV`, where it is given. */
  readonly dProjectV?: ReferenceArray;
}

const known = ["projectK", "projectV", "scale", "layout", "lse", "out", "signal", "onProgress"];

/** `projection x`: `r` rows, each made of all rows. */
function project(x: ReferenceTensor, projection: ReferenceTensor, bnhd: boolean): ReferenceArray {
  const { extents: [B, H, N, D], read } = axesOf(x, bnhd);
  const { extents: [, , rows], read: weight } = axesOf(projection);
  const { data, shape, add } = zeros(withRows(x.shape, rows, bnhd), bnhd);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let row = 0; row < rows; row++) {
        for (let n = 0; n < N; n++) {
          const w = weight(0, h, row, n);
          for (let d = 0; d < D; d++) add(b, h, row, d, w * read(b, h, n, d));
        }
      }
    }
  }
  return { data, shape };
}

/**
 * Back through `y = projection x`: `dx = projection^T dy`, and to the projection's gradient is added
 * `dy x^T`, over the batches and over the heads that share it.
 */
function projectBackward(
  x: ReferenceTensor,
  projection: ReferenceTensor,
  dy: ReferenceTensor,
  dProjection: Sums,
  bnhd: boolean,
): ReferenceArray {
  const { extents: [B, H, N, D], read } = axesOf(x, bnhd), { read: weight } = axesOf(projection);
  const { extents: [, , rows], read: given } = axesOf(dy, bnhd);
  const { data, shape, add } = zeros(x.shape, bnhd);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let row = 0; row < rows; row++) {
        for (let n = 0; n < N; n++) {
          const w = weight(0, h, row, n);
          let dot = 0;
          for (let d = 0; d < D; d++) {
            add(b, h, n, d, w * given(b, h, row, d));
            dot += given(b, h, row, d) * read(b, h, n, d);
          }
          dProjection.add(0, h, row, n, dot);
        }
      }
    }
  }
  return { data, shape };
}

/**
 * Linformer attention, `softmax(scale q (E k)^T) (F v)` with `E = projectK` and `F = projectV`: Wang et
 * al., arXiv 2006.04768, equation 7. It is exact attention over `r` keys, each a mixture of all.
 *
 * ```ts
 * import { referenceLinformerAttention } from "@flashtile/attention/reference";
 *
 * const q = { data: [1], shape: [1, 1] };
 * const k = { data: [1, 3], shape: [2, 1] }, v = { data: [2, 6], shape: [2, 1] };
 * const projectK = { data: [1 / 2, 1 / 2], shape: [1, 2] };
 * const { out, lse } = referenceLinformerAttention(q, k, v, { projectK });
 * console.log(out.data, lse.data); // [4] and [2]: the one key is 2 and its value 4
 * ```
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options The projections, and `scale` and `layout`.
 * @returns `out` in the rank and layout of `q`, and `lse`, float64. Inputs are not checked.
 */
export function referenceLinformerAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferenceLinformerOptions,
): ReferenceResult {
  refuseUnknown(options, known);
  const { projectK, projectV = projectK, scale, layout } = options, bnhd = layout === "bnhd";
  const keys = project(k, projectK, bnhd), values = project(v, projectV, bnhd);
  return referenceAttention(q, keys, values, { scale, layout });
}

/**
 * Gradients of Linformer attention: those of exact attention over the `r` rows, and from there through
 * the two products, `dk = E^T dk'` and `dE = dk' k^T`.
 *
 * ```ts
 * import { referenceLinformerAttentionBackward } from "@flashtile/attention/reference";
 *
 * const q = { data: [1], shape: [1, 1] }, dOut = { data: [1], shape: [1, 1] };
 * const k = { data: [1, 3], shape: [2, 1] }, v = { data: [2, 6], shape: [2, 1] };
 * const projection = { data: [1 / 2, 1 / 2], shape: [1, 2] };
 * const { dv, dProjectV } = referenceLinformerAttentionBackward(q, k, v, dOut, {
 *   projectK: projection,
 *   projectV: projection,
 * });
 * console.log(dv.data, dProjectV?.data); // [1 / 2, 1 / 2] and [2, 6]
 * ```
 *
 * @param q Queries, as in `referenceLinformerAttention()`.
 * @param k Keys.
 * @param v Values.
 * @param dOut Gradient with respect to `out`, in the rank and layout of `q`.
 * @param options As those of `referenceLinformerAttention()`, and `dLse`.
 * @returns Float64 gradients. Inputs are not checked.
 */
export function referenceLinformerAttentionBackward(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceLinformerBackwardOptions,
): ReferenceLinformerGradients {
  refuseUnknown(options, [...known, "dLse"]);
  const { projectK, projectV, scale, layout, dLse } = options, bnhd = layout === "bnhd";

  // 1. Gradients by the projected keys and values.
  const keys = project(k, projectK, bnhd), values = project(v, projectV ?? projectK, bnhd);
  const projected = referenceAttentionBackward(dOut, q, keys, values, { scale, layout, dLse });

  // 2. Back through the projections.
  const sumsK = zeros(projectK.shape), sumsV = projectV ? zeros(projectV.shape) : sumsK;
  const dk = projectBackward(k, projectK, projected.dk, sumsK, bnhd);
  const dv = projectBackward(v, projectV ?? projectK, projected.dv, sumsV, bnhd);
  const dProjectK = { data: sumsK.data, shape: sumsK.shape };
  const dProjectV = { data: sumsV.data, shape: sumsV.shape };
  return { dq: projected.dq, dk, dv, dProjectK, ...(projectV && { dProjectV }) };
}
