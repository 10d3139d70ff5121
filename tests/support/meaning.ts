/**
 * What the options of a call mean for each score, read by itself: the tests' own words for what
 * `docs/SEMANTICS.md` says.
 *
 * @module
 */

import type { BooleanTensor, Tensor } from "@flashtile/attention";
import {
  type AddTo,
  differentiateScore,
  evaluate,
  type Given,
} from "../../src/reference/scores.ts";
import { type Graph, traceMask, traceScore } from "../../src/scores/graph.ts";
import type { Meaning, Problem } from "./problem.ts";

/** Reads the element for a score. */
type Read = (b: number, h: number, i: number, j: number) => number;

/** Reads a tensor over `[B, Hq, Nq, Nk]` whose axes are full or 1 and may be missing. */
export function broadcastReader(tensor: Tensor | BooleanTensor): Read {
  const { shape, offset = 0 } = tensor, data = tensor.data as Float32Array | Uint32Array;
  const strides = tensor.strides ??
    shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const missing = 4 - shape.length;
  const step = (axis: number) => {
    const at = axis - missing;
    return at < 0 || shape[at] === 1 ? 0 : strides[at];
  };
  const steps = [step(0), step(1), step(2), step(3)];
  const bits = data instanceof Uint32Array;
  return (b, h, i, j) => {
    const element = offset + b * steps[0] + h * steps[1] + i * steps[2] + j * steps[3];
    return bits ? data[Math.floor(element / 32)] >>> (element % 32) & 1 : data[element];
  };
}

/** What one row's scores are changed by, and which of its keys it sees. */
export interface RowMeaning {
  readonly sees: (j: number) => boolean;
  /** The same where no mask function was asked. */
  readonly seesByOptions: (j: number) => boolean;
  /** What a score function makes of a score. */
  readonly changed: (j: number, score: number) => number;
  /** The gradient with respect to that score, of that with respect to what it became. */
  readonly through: (j: number, score: number, dChanged: number, addTo: AddTo) => number;
  /** What functions are given of a key, and of its score. */
  readonly given: (j: number, score: number) => Given;
  /** Distance of a key from the one that the row is aligned with. */
  readonly distance: (j: number) => number;
  readonly bias: (j: number) => number;
  readonly slope: number;
  readonly sink: number;
}

/** Where a row is: in a batch, or in a packed sequence. */
function placeOf({ sizes }: Problem, { cuSeqlens }: Meaning, b: number, i: number) {
  const { Nq, Nk } = sizes;
  if (!cuSeqlens) return { segment: b, first: 0, keys: Nk, queries: Nq, at: i };
  const ends = Array.from(cuSeqlens.q).slice(1), segment = ends.findIndex((end) => i < end);
  const begin = cuSeqlens.q[segment], first = cuSeqlens.k[segment];
  return {
    ...{ segment, first },
    keys: cuSeqlens.k[segment + 1] - first,
    queries: cuSeqlens.q[segment + 1] - begin,
    at: i - begin,
  };
}

/** How many keys before and behind its own a row sees at most. */
function sidesOf(window: Meaning["window"], causal: Meaning["causal"]): [number, number] {
  if (typeof window !== "number") return [window?.[0] ?? Infinity, window?.[1] ?? Infinity];
  return causal ? [window - 1, 0] : [window >> 1, window >> 1];
}

/** What a call's options mean, row by row. */
export function meaningOf(
  problem: Problem,
  meaning: Meaning,
): (b: number, h: number, i: number) => RowMeaning {
  const { causal, window, chunk = Infinity, kvLengths, offset, blockMask, scoreMod, maskMod } =
    meaning;
  const scoreGraph = scoreMod && traceScore(scoreMod), maskGraph = maskMod && traceMask(maskMod);
  const biasAt = meaning.bias && broadcastReader(meaning.bias as Tensor);
  const maskAt = meaning.mask && broadcastReader(meaning.mask);
  const slopeAt = meaning.alibi && broadcastReader(meaning.alibi);
  const sinkAt = meaning.sinks && broadcastReader(meaning.sinks);
  const [left, right] = sidesOf(window, causal);
  return (b, h, i) => {
    const { segment, first, keys, queries, at } = placeOf(problem, meaning, b, i);
    const moved = typeof offset === "object" ? offset[segment] : offset;
    const aligned = at + (moved ?? (causal === "top-left" ? 0 : keys - queries));
    const last = Math.min(aligned + right, causal ? aligned : Infinity);
    const count = kvLengths?.[segment] ?? keys;
    const given = (j: number, score: number) => ({ score, b: segment, h, q: at, k: j - first });
    const valuesOf = (graph: Graph, j: number, score: number) => evaluate(graph, given(j, score));
    const valueOf = (graph: Graph, j: number, score: number) => valuesOf(graph, j, score).at(-1)!;
    const seesByOptions = (j: number) => {
      const local = j - first;
      return local >= 0 && local < count && local >= aligned - left && local <= last &&
        (chunk === Infinity ||
          (local - local % chunk <= aligned && aligned < local - local % chunk + chunk)) &&
        (!maskAt || maskAt(b, h, i, j) !== 0) && (!blockMask || blockMask.keeps(b, h, i, j)) &&
        (!biasAt || biasAt(b, h, i, j) !== -Infinity);
    };
    return {
      sees: (j) => seesByOptions(j) && (!maskGraph || valueOf(maskGraph, j, 0) !== 0),
      seesByOptions,
      through: (j, score, dChanged, addTo) =>
        scoreGraph
          ? differentiateScore(scoreGraph, valuesOf(scoreGraph, j, score), dChanged, addTo)
          : dChanged,
      changed: (j, score) => scoreGraph ? Math.fround(valueOf(scoreGraph, j, score)) : score,
      given,
      distance: (j) => Math.abs(aligned - (j - first)),
      bias: (j) => biasAt?.(b, h, i, j) ?? 0,
      slope: slopeAt?.(0, 0, segment, h) ?? 0,
      sink: sinkAt?.(0, 0, 0, h) ?? -Infinity,
    };
  };
}
