/**
 * What rounding may do to calls with score and mask functions: how far each number of `out`, `lse` and gradients may be from the
 * exact one, to first order. What functions make of the error of a score counts as much as the key weighs. Rows of which this is not
 * known, since a comparison is too near, or since an error is beyond what the first order says, are told.
 *
 * @module
 */

import { type Graph, traceMask, traceScore } from "../../src/scores/graph.ts";
import type { CapturedArray } from "../../src/scores/kinds.ts";
import type { Cotangents } from "./gradients.ts";
import { keyOf, type Row, type RowPlace, rowsOf } from "./naive.ts";
import { count, type Meaning, type Problem, shapesOf } from "./problem.ts";
import { evaluateBounded, unit } from "./score_bounds.ts";
import { leastGradient, type ScoreSlopes, slopesOf } from "./slope_bounds.ts";

/** Sums are formed in runs of at most 96 terms, and these are added up. */
const longestRun = 96, ofRuns = 16;

/** What the first order leaves out, where no weight is off by more than this. */
const farthest = 2 ** -6;

/** What the first order is multiplied by for it. */
export const secondOrder = 1 + 2 * farthest;

/** Keys whose weight is below the power of e of this are nothing beside the greatest. */
const negligible = -60;

/** Roundings of a sum of products. */
const roundingsOf = (terms: number) => Math.min(terms, longestRun) + ofRuns;

/** A key that a row sees. */
interface Seen {
  readonly j: number;
  readonly score: number;
  /** How far its score may be off. */
  readonly off: number;
  readonly slopes: ScoreSlopes | undefined;
}

/** A key with its weight, and by how much of itself that may be off. */
interface Weighed extends Seen {
  readonly weight: number;
  readonly part: number;
}

/** Bounds of a row's results. */
export interface RowBounds {
  /** Whether they are known. */
  readonly isKnown: boolean;
  readonly keys: readonly Weighed[];
  readonly lse: { readonly x: number; readonly e: number };
  readonly out: Float64Array;
  readonly outBounds: Float64Array;
}

/** The graphs of a call, traced once. */
interface Graphs {
  readonly score: Graph | undefined;
  readonly mask: Graph | undefined;
}

const graphsOf = ({ scoreMod, maskMod }: Meaning): Graphs => ({
  score: scoreMod && traceScore(scoreMod),
  mask: maskMod && traceMask(maskMod),
});

/** The scaled product with a key, exactly, and how far it may be off in f32. */
function productOf({ q, k }: Row, scale: number, j: number): { x: number; e: number } {
  const key = keyOf(k, q.length, j);
  let sum = 0, magnitude = 0;
  q.forEach((x, d) => {
    sum += x * key[d];
    magnitude += Math.abs(x * key[d]);
  });
  return { x: scale * sum, e: (q.length + 4) * unit * Math.abs(scale) * magnitude };
}

/** The keys that a row sees; `undefined` where it is not known which, or what their scores are. */
function seenBy(
  row: Row,
  { score, mask }: Graphs,
  scale: number,
  hasSlopes: boolean,
): Seen[] | undefined {
  const seen: Seen[] = [], { meaning } = row;
  for (let j = 0; j < row.k.length / row.q.length; j++) {
    if (!meaning.seesByOptions(j)) continue;
    const product = productOf(row, scale, j), given = meaning.given(j, product.x);
    const isSeen = mask && evaluateBounded(mask, given, 0);
    if (Number.isNaN(isSeen?.bound)) return undefined;
    if (isSeen?.result === 0) continue;
    const values = score && evaluateBounded(score, given, product.e);
    const [x, off] = values ? [values.result, values.bound] : [product.x, product.e];
    if (Number.isNaN(off)) return undefined;
    if (x === -Infinity) continue;
    const slopes = hasSlopes && score ? slopesOf(score, values!) : undefined;
    if (hasSlopes && score && slopes === undefined) return undefined;
    seen.push({ j, score: x, off, slopes });
  }
  return seen;
}

const nothing = (width: number): RowBounds => ({
  ...{ isKnown: true, keys: [], lse: { x: -Infinity, e: 0 } },
  ...{ out: new Float64Array(width), outBounds: new Float64Array(width) },
});

function weigh(seen: readonly Seen[], width: number, v: Float32Array): RowBounds {
  if (seen.length === 0) return nothing(width);
  const greatest = seen.reduce((most, { score }) => Math.max(most, score), -Infinity);
  const sum = seen.reduce((all, { score }) => all + Math.exp(score - greatest), 0);
  const keys = seen.map((one): Weighed => {
    const below = one.score - greatest;
    return {
      ...one,
      weight: Math.exp(below) / sum,
      part: one.off + unit * (4 + 2 * Math.abs(below)),
    };
  });
  const out = new Float64Array(width), outBounds = new Float64Array(width);
  const value = (j: number, d: number) => v[j * width + d];
  for (const { j, weight } of keys) out.forEach((_, d) => out[d] += weight * value(j, d));
  const each = roundingsOf(keys.length) * unit;
  let e = unit * roundingsOf(keys.length);
  for (const { j, weight, part } of keys) {
    e += weight * part;
    out.forEach((x, d) =>
      outBounds[d] += weight * (part * Math.abs(value(j, d) - x) + each * Math.abs(value(j, d)))
    );
  }
  const x = greatest + Math.log(sum);
  return {
    // A key that is off by much may count all the same, but where it is far below the greatest.
    isKnown: keys.every(({ off, score }) =>
      off <= farthest || score + off - greatest < negligible || !Number.isFinite(score)
    ),
    ...{ keys, out, outBounds, lse: { x, e: e + unit * Math.abs(x) } },
  };
}

/** Whether a row's weights are known to a pass that is given `lse` in f32 alone, of which rounding takes much where it is large. */
const hasWeights = ({ keys, lse }: RowBounds) => keys.length === 0 || lse.e <= farthest;

/**
 * The same call without the rows of whose weights nothing is known, or which are NaN: a mask among its options hides all from them,
 * as their bounds say then.
 */
export function withoutUnknown(
  { sizes: { B, Hq, Nq, Dv } }: Problem,
  meaning: Meaning,
  call: CallBounds,
): { readonly meaning: Meaning; readonly call: CallBounds } {
  const kept = call.bounds.map((row) => row !== undefined && hasWeights(row));
  if (kept.every(Boolean)) return { meaning, call };
  const mask = { data: Uint8Array.from(kept, Number), shape: [B, Hq, Nq, 1] };
  const bounds = call.bounds.map((row, at) => kept[at] ? row : nothing(Dv));
  return { meaning: { ...meaning, mask }, call: { ...call, bounds } };
}

/** Bounds of a call, row by row. */
export interface CallBounds {
  readonly rows: readonly (Row & RowPlace)[];
  /** `undefined` where it is not known which keys a row sees, or what their scores are. */
  readonly bounds: readonly (RowBounds | undefined)[];
  readonly scale: number;
}

/** Bounds of a call. `hasSlopes` for those that its gradients need. */
export function boundsOf(problem: Problem, meaning: Meaning, hasSlopes = false): CallBounds {
  const graphs = graphsOf(meaning), rowAt = rowsOf(problem, meaning), { D, Dv } = problem.sizes;
  const scale = meaning.scale ?? 1 / Math.sqrt(D);
  const total = count(shapesOf(problem.sizes).out.slice(0, 3));
  const rows = Array.from({ length: total }, (_, at) => rowAt(at));
  const bounds = rows.map((row) => {
    const seen = seenBy(row, graphs, scale, hasSlopes), found = seen && weigh(seen, Dv, row.v);
    return found?.isKnown ? found : undefined;
  });
  return { rows, bounds, scale };
}

/** How far each number of gradients may be off. */
export interface GradientBounds {
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
  readonly arrays: ReadonlyMap<CapturedArray, Float64Array>;
}

/** Adds numbers, and bounds of sums of them. */
class Sums {
  readonly #x: Float64Array;
  readonly #magnitudes: Float64Array;
  readonly #e: Float64Array;
  readonly #terms: Float64Array;

  constructor(length: number) {
    [this.#x, this.#magnitudes, this.#e, this.#terms] = Array.from(
      { length: 4 },
      () => new Float64Array(length),
    );
  }

  add(at: number, x: number, e: number): void {
    this.#x[at] += x;
    this.#magnitudes[at] += Math.abs(x);
    this.#e[at] += e;
    this.#terms[at]++;
  }

  /** The bounds. */
  get(): Float64Array {
    return this.#e.map((e, at) =>
      secondOrder * e + roundingsOf(this.#terms[at]) * unit * this.#magnitudes[at]
    );
  }
}

/** What a row's gradients are off by, added to sums. */
function differentiateRow(
  { row, bounds, scale, dOut, dLse }: {
    readonly row: Row & RowPlace;
    readonly bounds: RowBounds;
    readonly scale: number;
    readonly dOut: Float32Array;
    readonly dLse: number;
  },
  sums: Readonly<Record<"dq" | "dk" | "dv", (d: number, j: number, x: number, e: number) => void>>,
  addTo: (array: CapturedArray, place: number, x: number, e: number) => void,
): void {
  const { q, k, v } = row, { keys, out, outBounds, lse } = bounds, width = dOut.length;
  const products = (width + 4) * unit;
  let delta = -dLse, ofDelta = unit * Math.abs(dLse);
  dOut.forEach((d, at) => {
    delta += d * out[at];
    ofDelta += Math.abs(d) * outBounds[at] + products * Math.abs(d * out[at]);
  });
  for (const { j, weight, part, slopes } of keys) {
    const relative = part + lse.e, value = keyOf(v, width, j), key = keyOf(k, q.length, j);
    let dWeight = 0, ofWeight = 0;
    dOut.forEach((d, at) => {
      sums.dv(at, j, weight * d, weight * relative * Math.abs(d));
      dWeight += d * value[at];
      ofWeight += products * Math.abs(d * value[at]);
    });
    const dScore = weight * (dWeight - delta);
    const ofScore = Math.abs(dScore) * (relative + 4 * unit) + weight * (ofWeight + ofDelta);
    const { x: slope, e: ofSlope } = slopes?.score ?? { x: 1, e: 0 };
    const dProduct = scale * dScore * slope;
    const off = Math.abs(scale) *
      (Math.abs(slope) * ofScore + Math.max(Math.abs(dScore), leastGradient) * ofSlope +
        4 * unit * Math.abs(dScore * slope));
    q.forEach((x, d) => {
      sums.dq(d, j, dProduct * key[d], off * Math.abs(key[d]));
      sums.dk(d, j, dProduct * x, off * Math.abs(x));
    });
    for (const { array, place, slope: { x, e } } of slopes?.arrays ?? []) {
      addTo(
        array,
        place,
        dScore * x,
        Math.abs(x) * ofScore +
          Math.max(Math.abs(dScore), leastGradient) * (e + 2 * unit * Math.abs(x)),
      );
    }
  }
}

/** Bounds of the gradients of a call, all of whose rows are known. */
export function gradientBoundsOf(
  problem: Problem,
  { rows, bounds, scale }: CallBounds,
  { dOut, dLse }: Cotangents,
): GradientBounds {
  const shapes = shapesOf(problem.sizes), { D, Dv, Nk } = problem.sizes;
  const [dq, dk, dv] = [shapes.q, shapes.k, shapes.v].map((shape) => new Sums(count(shape)));
  const arrays = new Map<CapturedArray, Sums>();
  const addTo = (array: CapturedArray, place: number, x: number, e: number) => {
    if (!arrays.has(array)) arrays.set(array, new Sums(count(array.shape)));
    arrays.get(array)!.add(place, x, e);
  };
  rows.forEach((row, at) => {
    const given = {
      ...{ row, bounds: bounds[at]!, scale, dLse: dLse?.[at] ?? 0 },
      dOut: dOut.subarray(at * Dv, (at + 1) * Dv),
    };
    const begin = row.keyHead * Nk;
    differentiateRow(given, {
      dq: (d, _, x, e) => dq.add(at * D + d, x, e),
      dk: (d, j, x, e) => dk.add((begin + j) * D + d, x, e),
      dv: (d, j, x, e) => dv.add((begin + j) * Dv + d, x, e),
    }, addTo);
  });
  return {
    ...{ dq: dq.get(), dk: dk.get(), dv: dv.get() },
    arrays: new Map([...arrays].map(([array, sums]) => [array, sums.get()])),
  };
}
