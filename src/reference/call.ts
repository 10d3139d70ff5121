/**
 * What a call asks for, as the oracle reads it: the score of every query with every key.
 *
 * @module
 */

import { unknownOption } from "../check/words.ts";
import type { AttentionOptions } from "../operations/attention/options.ts";
import { traceMask, traceScore } from "../scores/graph.ts";
import type { CapturedArray, ScoreFunctions } from "../scores/kinds.ts";
import { type AddTo, differentiateScore, evaluate } from "./scores.ts";
import type { NumberList } from "../tensor/tensor.ts";
import { axesOf, listOf, listReader, type Read, type ReferenceTensor } from "./tensor.ts";

/** A call's sizes, its tensors, and what its options mean. */
export interface Call {
  readonly B: number;
  readonly Hq: number;
  readonly Nq: number;
  readonly Nk: number;
  readonly D: number;
  readonly Dv: number;
  /** Whether heads come after rows in the caller's tensors. */
  readonly bnhd: boolean;
  readonly scale: number;
  readonly Q: Read;
  readonly K: Read;
  readonly V: Read;
  /** The key/value head that a query head reads. */
  keyHead(h: number): number;
  /** The scaled dot product of a query and a key. */
  readonly product: Read;
  /** Scores of a row, scaled, capped and biased; -Infinity where it does not see the key. */
  scores(b: number, h: number, i: number): Float64Array;
  /**
   * The gradient with respect to a scaled product, of that with respect to its score; what arrays of a score
   * function get of it is added.
   */
  throughScore(at: ScorePlace, dScore: number, addTo: AddTo): number;
  /** Arrays of a score function that ask for gradients. */
  readonly captured: readonly CapturedArray[];
  /** The score that takes weight and has no value; -Infinity for none. */
  sink(h: number): number;
}

/** A query's row and a key's. */
export type ScorePlace = readonly [b: number, h: number, i: number, j: number];

/** Options that the oracle knows: those that say what a call means, and those that say nothing to it. */
const known = [
  ...[
    "causal",
    "offset",
    "window",
    "chunk",
    "kvLengths",
    "scale",
    "layout",
    "softcap",
    "alibi",
    "bias",
  ],
  ...["mask", "sinks", "cuSeqlens", "packed", "blockMask", "scoreMod", "maskMod"],
  ...["lse", "out", "signal", "onProgress", "precision"],
  "dLse", // Of gradients alone.
];

/**
 * Refuses options that an oracle does not know: it must not agree by not having read one.
 *
 * @throws {TypeError} On the first of them.
 */
export function refuseUnknown(options: object, known: Iterable<string>): void {
  const names = [...known];
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  throw unknownOption(unknown, names, "Cannot compute a reference");
}

/**
 * Reads a call.
 *
 * @throws {TypeError} On an option that it does not know.
 */
export function callOf(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: AttentionOptions & ScoreFunctions,
): Call {
  refuseUnknown(options, known);
  const bnhd = options.layout === "bnhd";
  const [{ extents, read: Q }, { read: K }, V] = [q, k, v].map((tensor) => axesOf(tensor, bnhd));
  const [B, Hq, Nq, D] = extents, [, Hkv, Nk, Dv] = V.extents;
  const { softcap, blockMask } = options, scale = options.scale ?? 1 / Math.sqrt(D);
  const bias = options.bias && axesOf(options.bias as ReferenceTensor).read;
  const mask = options.mask && axesOf(options.mask).read;
  const slopes = options.alibi && axesOf(listOf(options.alibi)).read;
  const sinks = options.sinks && listReader(options.sinks);
  const places = placesOf(options);
  const keyHead = (h: number) => Math.floor(h * Hkv / Hq);
  const score = options.scoreMod && traceScore(options.scoreMod);
  const seen = options.maskMod && traceMask(options.maskMod);

  const product: Read = (b, h, i, j) => {
    const g = keyHead(h);
    let s = 0;
    for (let d = 0; d < D; d++) s += Q(b, h, i, d) * K(b, g, j, d);
    return s * scale;
  };
  // What a score function makes of a product, all its numbers.
  const modified = (row: Row, h: number, j: number, product: number) =>
    evaluate(score!, { score: product, ...functionPlace(row, h, j) });
  const scores = (b: number, h: number, i: number) => {
    // Where this row stands among the keys, and which keys count for it at all.
    const row = rowOf(options, places, b, i, Nq, Nk), found = new Float64Array(Nk).fill(-Infinity);
    for (let j = 0; j < Nk; j++) {
      const at = j - row.firstKey;
      if (at < 0 || at >= row.keys || !inBand(options, row.aligned, at)) continue;
      if (mask && !mask(b, h, i, j)) continue;
      if (blockMask && !blockMask.keeps(b, h, i, j)) continue;
      if (bias && bias(b, h, i, j) === -Infinity) continue;
      if (seen && !evaluate(seen, { score: 0, ...functionPlace(row, h, j) }).at(-1)) continue;
      let s = product(b, h, i, j);
      if (score) s = modified(row, h, j, s).at(-1)!;
      if (s === -Infinity) continue;
      if (softcap) s = softcap * Math.tanh(s / softcap);
      if (bias) s += bias(b, h, i, j);
      if (slopes) s -= slopes(0, 0, row.segment, h) * Math.abs(row.aligned - at);
      found[j] = s;
    }
    return found;
  };
  return {
    ...{ B, Hq, Nq, Nk, D, Dv, bnhd, scale, Q, K, V: V.read, keyHead, product, scores },
    throughScore: ([b, h, i, j], dScore, addTo) => {
      const plain = product(b, h, i, j), row = rowOf(options, places, b, i, Nq, Nk);
      const values = score && modified(row, h, j, plain), capped = values?.at(-1) ?? plain;
      // 1 - tanh^2 without its cancellation.
      const dCapped = softcap ? dScore * Math.cosh(capped / softcap) ** -2 : dScore;
      return score ? differentiateScore(score, values!, dCapped, addTo) : dCapped;
    },
    captured: score?.arrays.filter(({ grad }) => grad) ?? [],
    sink: (h) => sinks ? sinks(h) : -Infinity,
  };
}

/** How far a window reaches. Of one that is a number: so many keys, the row's own among them. */
function sidesOf({ window, causal }: AttentionOptions): readonly (number | null)[] {
  if (typeof window !== "number") return window ?? [null, null];
  const half = window % 2 === 0 ? window / 2 : (window - 1) / 2;
  return causal ? [window - 1, 0] : [half, half];
}

/** Which keys row `i` of batch `b` may see, before masks: `aligned` is the key it stands on. */
function inBand(options: AttentionOptions, aligned: number, j: number): boolean {
  const [left, right] = sidesOf(options);
  const { chunk } = options, chunkOf = (key: number) => chunk ? Math.floor(key / chunk) : 0;
  return (!options.causal || j <= aligned) && chunkOf(j) === chunkOf(aligned) &&
    (left === null || j >= aligned - left) &&
    (right === null || j <= aligned + right);
}

/** Where a score is, as functions see it. */
function functionPlace({ segment, firstKey, row }: Row, h: number, j: number) {
  return { b: segment, h, q: row, k: j - firstKey };
}

/** The keys that row `i` has: `keys` of them from `firstKey` on, and the one it is aligned with. */
interface Row {
  /** Its batch, or its packed sequence. */
  readonly segment: number;
  /** Its place in that. */
  readonly row: number;
  readonly firstKey: number;
  readonly keys: number;
  readonly aligned: number;
}

/** Lists that say where rows and keys are, by batch or by packed sequence. */
interface Places {
  readonly offset: (segment: number) => number | undefined;
  readonly kvLength: (segment: number) => number | undefined;
  readonly starts: Readonly<Record<"q" | "k", (segment: number) => number>> | undefined;
}

function placesOf({ offset, kvLengths, cuSeqlens, packed }: AttentionOptions): Places {
  const starts = cuSeqlens ?? packed, isLengths = cuSeqlens === undefined;
  const { q, k } = starts && "q" in starts ? starts : { q: starts, k: starts };
  const readerOf = (list: NumberList) => isLengths ? sumsOf(listReader(list)) : listReader(list);
  return {
    offset: typeof offset === "object" ? listReader(offset) : () => offset,
    kvLength: kvLengths ? listReader(kvLengths) : () => undefined,
    starts: q && k && { q: readerOf(q), k: readerOf(k) },
  };
}

/** What numbers before an index sum up to. */
function sumsOf(read: (index: number) => number): (index: number) => number {
  return (index) => {
    let sum = 0;
    for (let before = 0; before < index; before++) sum += read(before);
    return sum;
  };
}

function rowOf(
  { causal }: AttentionOptions,
  { offset, kvLength, starts }: Places,
  b: number,
  i: number,
  Nq: number,
  Nk: number,
): Row {
  const place = starts
    ? placeInSequence(starts, i)
    : { segment: b, firstKey: 0, keys: Nk, queries: Nq, at: i };
  const { segment, firstKey, keys, queries, at } = place;
  const shift = offset(segment) ?? (causal === "top-left" ? 0 : keys - queries);
  return { segment, row: at, firstKey, keys: kvLength(segment) ?? keys, aligned: at + shift };
}

function placeInSequence({ q, k }: NonNullable<Places["starts"]>, i: number) {
  let segment = 0;
  while (q(segment + 1) <= i) segment++;
  return {
    segment,
    firstKey: k(segment),
    keys: k(segment + 1) - k(segment),
    queries: q(segment + 1) - q(segment),
    at: i - q(segment),
  };
}
