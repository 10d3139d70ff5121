/**
 * Rotary position embedding (Su et al., arXiv 2104.09864) by its formula.
 *
 * @module
 */

import type { RopeOptions, RopeScaling } from "../operations/rope/options.ts";
import { axesOf, forEachRow, listOf, listReader, type ReferenceArray, zeros } from "./tensor.ts";
import type { ReferenceTensor } from "./tensor.ts";

/** A rotation's angles: radians of each pair from a position to the next, and what rows are multiplied by. */
export interface ReferenceRotation {
  /** Of each pair, `dims / 2` of them. */
  readonly frequencies: Float64Array<ArrayBuffer>;
  /** Length of a rotated row of length 1. */
  readonly factor: number;
}

/** From 0 to 1 as `x` goes from `low` to `high`. */
function ramp(x: number, low: number, high: number): number {
  return Math.min(1, Math.max(0, (x - low) / Math.max(1e-3, high - low)));
}

/** What a pair's frequency is divided by. */
function divisorOf(
  scaling: RopeScaling,
  { theta, dims, pair }: Record<"theta" | "dims" | "pair", number>,
): number {
  const frequency = theta ** (-2 * pair / dims);
  switch (scaling.type) {
    case "linear":
      return scaling.factor;
    case "ntk":
      return scaling.factor ** (2 * pair / Math.max(1, dims - 2));
    case "longrope":
      return listReader(scaling.factors)(pair);
    case "llama3": {
      const { factor, originalLength, lowFrequencyFactor = 1, highFrequencyFactor = 4 } = scaling;
      const turns = originalLength * frequency / (2 * Math.PI);
      const kept = ramp(turns, lowFrequencyFactor, highFrequencyFactor);
      return 1 / (kept + (1 - kept) / factor);
    }
    case "yarn": {
      const { factor, originalLength, betaFast = 32, betaSlow = 1, truncate = true } = scaling;
      /** The pair, not a whole one, that makes so many turns within the length. */
      const pairOf = (turns: number) =>
        dims * Math.log(originalLength / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
      const [floor, ceil] = truncate ? [Math.floor, Math.ceil] : [Number, Number];
      const low = Math.max(0, floor(pairOf(betaFast)));
      const slowed = ramp(pair, low, Math.min(dims - 1, ceil(pairOf(betaSlow))));
      return 1 / (1 - slowed + slowed / factor);
    }
  }
}

function factorOf(scaling: RopeScaling | undefined): number {
  if (scaling?.type === "yarn") {
    return scaling.attentionFactor ?? 0.1 * Math.log(scaling.factor) + 1;
  }
  return scaling?.type === "longrope" ? scaling.attentionFactor ?? 1 : 1;
}

/**
 * The angles that options of `rope()` ask for.
 *
 * @param options Those of `rope()`.
 * @param dims How many elements of a row are rotated, unless the options say it.
 */
export function referenceRotation(options: RopeOptions, dims: number): ReferenceRotation {
  const { theta = 10_000, scaling, dims: turned = dims } = options;
  const frequencyOf = (_: unknown, pair: number) =>
    theta ** (-2 * pair / turned) /
    (scaling === undefined ? 1 : divisorOf(scaling, { theta, dims: turned, pair }));
  return {
    frequencies: Float64Array.from({ length: turned / 2 }, frequencyOf),
    factor: factorOf(scaling),
  };
}

/** Which axis of positions a pair is turned by; `undefined` where there is one. */
function axesOfPairs({ sections, sectionStyle }: RopeOptions, pairs: number) {
  if (sections === undefined) return undefined;
  const { data } = listOf(sections), sizes = Array.from(data);
  const inBlocks = sizes.flatMap((size, axis) => Array<number>(size).fill(axis));
  if (sectionStyle !== "interleaved") return (pair: number) => inBlocks[pair];
  const taken = new Map<number, number>();
  for (let axis = 1; axis < sizes.length; axis++) {
    for (let n = 0; n < sizes[axis]; n++) taken.set(axis + n * sizes.length, axis);
  }
  return (pair: number) => pair < pairs ? taken.get(pair) ?? 0 : 0;
}

/**
 * What `rope()` makes of a tensor: each pair `(x, y)` of a row at position `p` becomes
 * `(x cos - y sin, y cos + x sin)` of the angle `p` times the pair's frequency, times the factor.
 *
 * ```ts
 * import { referenceRope } from "@flashtile/attention/reference";
 *
 * const x = { data: Float64Array.of(1, 0, 1, 0), shape: [2, 2] };
 * console.log(referenceRope(x).data); // [1, 0, cos 1, sin 1]
 * ```
 *
 * @param x Rows `[B, H, N, D]` of any rank; they stay as they are.
 * @param options Those of `rope()`.
 */
export function referenceRope(x: ReferenceTensor, options: RopeOptions = {}): ReferenceArray {
  const { style = "half", layout, positions = 0 } = options, bnhd = layout === "bnhd";
  const { extents, read } = axesOf(x, bnhd), [, , N, D] = extents;
  const { frequencies, factor } = referenceRotation(options, D), pairs = frequencies.length;
  const result = zeros(x.shape, bnhd);
  const list = typeof positions === "number" ? undefined : listOf(positions);
  const places = list && axesOf(list).read, axisOf = axesOfPairs(options, pairs);
  const isOfBatch = list !== undefined && list.shape.reduce((a, b) => a * b, 1) > N;
  const positionOf = (b: number, n: number, pair: number) => {
    if (places === undefined) return positions as number + n;
    const { length: rank } = list!.shape;
    if (axisOf && rank > 1) {
      return places(0, rank === 3 ? axisOf(pair) : 0, rank === 3 ? b : axisOf(pair), n);
    }
    if (rank > 1) return places(0, 0, b, n);
    return places(0, 0, 0, isOfBatch ? b * N + n : n);
  };
  forEachRow(extents, ([b, h, n]) => {
    frequencies.forEach((frequency, pair) => {
      const angle = positionOf(b, n, pair) * frequency;
      const [i, j] = style === "half" ? [pair, pair + pairs] : [2 * pair, 2 * pair + 1];
      const [cos, sin] = [factor * Math.cos(angle), factor * Math.sin(angle)];
      result.add(b, h, n, i, read(b, h, n, i) * cos - read(b, h, n, j) * sin);
      result.add(b, h, n, j, read(b, h, n, j) * cos + read(b, h, n, i) * sin);
    });
    for (let d = 2 * pairs; d < D; d++) result.add(b, h, n, d, read(b, h, n, d));
  });
  return { data: result.data, shape: result.shape };
}
