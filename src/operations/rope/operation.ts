/**
 * Rotary position embedding (Su et al., arXiv 2104.09864): pairs of a row are turned by angles that
 * grow with its position, so that the product of a query and a key depends on their distance.
 *
 * @module
 */

import { checkHeads, openList, readTensor, sharesElements } from "../../check/tensors.ts";
import {
  checkLayoutName,
  checkOneOf,
  kindOf,
  readNumbers,
  readOptions,
} from "../../check/words.ts";
import type { Machinery } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import { readOf } from "../../tensor/arrays.ts";
import {
  type AnyTensor,
  type Layout,
  mayOverlap,
  type NumberList,
  sizeOf,
  viewOf,
} from "../../tensor/tensor.ts";
import { run } from "../call.ts";
import type { Rotation } from "./rotation.ts";

/** How angles are changed for contexts longer than those that a model was trained with. */
export type RopeScaling =
  /** Positions are divided by `factor` (arXiv 2306.15595). */
  | { readonly type: "linear"; readonly factor: number }
  /** `theta` grows, so that the slowest pair turns `factor` times as slowly. */
  | { readonly type: "ntk"; readonly factor: number }
  /** As Llama 3.1: slow pairs are divided by `factor`, fast ones are not, those between in part. */
  | {
    readonly type: "llama3";
    readonly factor: number;
    /** Context of the training. */
    readonly originalLength: number;
    /** Turns within it below which a pair is slow; default 1. */
    readonly lowFrequencyFactor?: number | undefined;
    /** Turns within it above which a pair is fast; default 4. */
    readonly highFrequencyFactor?: number | undefined;
  }
  /** YaRN (arXiv 2309.00071): the same by parts, and rows grow longer. */
  | {
    readonly type: "yarn";
    readonly factor: number;
    readonly originalLength: number;
    /** Turns above which a pair is fast; default 32. */
    readonly betaFast?: number | undefined;
    /** Turns below which a pair is slow; default 1. */
    readonly betaSlow?: number | undefined;
    /** Factor of the rotated rows; default `0.1 ln(factor) + 1`. */
    readonly attentionFactor?: number | undefined;
  };

/** Options of `rope()`. */
export interface RopeOptions {
  /**
   * Positions of the rows: that of the first, the others follow; or one for each, `[N]` for all
   * batches, or `[B, N]`, also flat. Default 0.
   */
  readonly positions?: number | NumberList | undefined;
  /** Base of the angles; default 10000. */
  readonly theta?: number | undefined;
  /**
   * Which elements are a pair: `i` and `i + dims / 2` (`"half"`, GPT-NeoX, Llama's released form), or
   * `2i` and `2i + 1` (`"interleaved"`, GPT-J). Default `"half"`.
   */
  readonly style?: "half" | "interleaved" | undefined;
  /** How many elements of a row are rotated, from the first on; default D. */
  readonly dims?: number | undefined;
  /** How angles are changed for contexts longer than those trained on; default none. */
  readonly scaling?: RopeScaling | undefined;
  /** Order of the axes; default `"bhnd"`. */
  readonly layout?: Layout | undefined;
}

const cannot = "Cannot rotate";

/** Every option, by name. */
export const ropeNames = ["positions", "theta", "style", "dims", "scaling", "layout"] as const;

function checkNumber(name: string, value: unknown, least: number): void {
  if (Number.isFinite(value) && (value as number) > least) return;
  throw new RangeError(`${cannot}: \`${name}\` must be above ${least}, got ${kindOf(value)}`);
}

/** Turns that a pair makes within a context. */
function turnsIn(length: number, frequency: number): number {
  return length * frequency / (2 * Math.PI);
}

function clamp01(x: number): number {
  return Math.min(1, Math.max(0, x));
}

/** Scaled frequencies of the pairs, and the factor of the rows. */
function scaleFrequencies(
  theta: number,
  dims: number,
  given: RopeScaling | undefined,
): { frequencies: number[]; length: number } {
  const pairs = dims / 2, frequency = (base: number, pair: number) => base ** (-pair / pairs);
  const scaled = (scale: (plain: number, pair: number) => number, length = 1) => ({
    frequencies: Array.from({ length: pairs }, (_, at) => scale(frequency(theta, at), at)),
    length,
  });
  if (given === undefined) return scaled((plain) => plain);
  const scaling = readScaling(given), { type, factor } = scaling;
  checkNumber("scaling.factor", factor, 0);
  if (type === "linear") return scaled((plain) => plain / factor);
  if (type === "ntk") {
    const base = theta * factor ** (dims / Math.max(1, dims - 2));
    return scaled((_, at) => frequency(base, at));
  }
  const { originalLength } = scaling;
  checkNumber("scaling.originalLength", originalLength, 0);
  // `fast` is 1 where a pair is left as it is, 0 where it is slowed by the factor.
  const blend = (plain: number, fast: number) => plain * (fast + (1 - fast) / factor);
  if (type === "llama3") {
    const { lowFrequencyFactor: low = 1, highFrequencyFactor: high = 4 } = scaling;
    checkNumber("scaling.lowFrequencyFactor", low, 0);
    checkNumber("scaling.highFrequencyFactor", high, low);
    return scaled((plain) =>
      blend(plain, clamp01((turnsIn(originalLength, plain) - low) / (high - low)))
    );
  }
  const { betaFast = 32, betaSlow = 1, attentionFactor = 0.1 * Math.log(factor) + 1 } = scaling;
  checkNumber("scaling.betaSlow", betaSlow, 0);
  checkNumber("scaling.betaFast", betaFast, betaSlow);
  checkNumber("scaling.attentionFactor", attentionFactor, 0);
  /** The pair that makes so many turns. */
  const pairOf = (turns: number) =>
    pairs * Math.log(originalLength / (turns * 2 * Math.PI)) / Math.log(theta);
  const low = Math.max(0, Math.floor(pairOf(betaFast)));
  const high = Math.min(dims - 1, Math.ceil(pairOf(betaSlow)));
  const span = Math.max(1e-3, high - low);
  return scaled((plain, at) => blend(plain, 1 - clamp01((at - low) / span)), attentionFactor);
}

const scalings: Readonly<Record<RopeScaling["type"], readonly string[]>> = {
  linear: [],
  ntk: [],
  llama3: ["originalLength", "lowFrequencyFactor", "highFrequencyFactor"],
  yarn: ["originalLength", "betaFast", "betaSlow", "attentionFactor"],
};

/** A scaling as it is now; what it may have depends on its type. */
function readScaling(scaling: RopeScaling): RopeScaling {
  const type = readOf(Object(scaling) as RopeScaling, "type")!;
  checkOneOf("scaling.type", type ?? null, Object.keys(scalings), cannot);
  const names = ["type", "factor", ...scalings[type]] as (keyof RopeScaling & string)[];
  return Object.assign(readOptions(scaling, names, cannot), { type }) as RopeScaling;
}

/** One position for each row of the table. */
function positionsOf(given: unknown, [batch, heads, rows]: readonly number[]): readonly number[] {
  const isEmpty = batch * heads === 0; // Then there may be any number of rows.
  if (given === undefined || typeof given === "number") {
    return Array.from({ length: isEmpty ? 0 : rows }, (_, at) => (given ?? 0) + at);
  }
  const list = openList("positions", given, cannot, true), { shape = [], length } = list ?? {};
  const fits = list !== undefined &&
    (shape.length === 1 || (shape.length === 2 && shape[1] === rows)) &&
    (length === rows || length === batch * rows);
  if (!fits) {
    throw new RangeError(
      `${cannot}: \`positions\` must be a number, or ${rows} of them for N rows, or ` +
        `${batch * rows} for B times N, got ${list === undefined ? kindOf(given) : `[${shape}]`}`,
    );
  }
  const { numbers, wrong } = readNumbers(list, Number.isFinite, isEmpty ? 0 : length);
  if (wrong === undefined) return numbers;
  throw notFinite(wrong.value);
}

function notFinite(position: unknown): RangeError {
  return new RangeError(
    `${cannot}: \`positions\` must be finite, and angles too, got ${kindOf(position)}`,
  );
}

/** Checks a call, and works out its angles in double precision. */
export function planRotation(
  q: AnyTensor,
  k: AnyTensor | null | undefined,
  options: RopeOptions = {},
): Rotation {
  const given = readOptions(options, ropeNames, cannot);
  const { theta = 10_000, style = "half", layout = "bhnd", scaling } = given;
  checkLayoutName(layout, cannot);
  checkOneOf("style", style, ["half", "interleaved"], cannot);
  checkNumber("theta", theta, 0);
  const views = Object.entries({ q, k }).flatMap(([name, tensor]) => {
    if (name === "k" && (tensor ?? null) === null) return [];
    const view = viewOf(readTensor(name, tensor, cannot), layout);
    checkHeads(name, view, cannot);
    if (!sharesElements(view)) return [view];
    throw new RangeError(`${cannot}: \`${name}\` has strides that name an element twice`);
  });
  const [batch, , rows, dim] = views[0].shape;
  const other = views.find(({ shape }) =>
    shape[0] !== batch || shape[2] !== rows || shape[3] !== dim
  );
  if (other !== undefined) {
    throw new RangeError(
      `${cannot}: \`k\` must have B, N and D as \`q\` has, [${[batch, rows, dim]}], got [${
        [0, 2, 3].map((axis) => other.shape[axis])
      }]`,
    );
  }
  if (views.length > 1 && mayOverlap(views[0], views[1])) {
    throw new RangeError(`${cannot}: \`q\` and \`k\` share elements, which would be turned twice`);
  }
  const { dims = dim } = given;
  if (!(Number.isSafeInteger(dims) && dims >= 2 && dims <= dim && dims % 2 === 0)) {
    throw new RangeError(
      `${cannot}: \`dims\` must be even and from 2 to D = ${dim}, got ${kindOf(dims)}`,
    );
  }
  // A tensor without elements may have any number of columns.
  const isEmpty = sizeOf(views[0].shape) === 0;
  const { frequencies, length } = scaleFrequencies(theta, isEmpty ? 2 : dims, scaling);
  const positions = positionsOf(given.positions, views[0].shape);
  const table = new Float32Array(positions.length * dims);
  let at = 0;
  const fastest = Math.max(...frequencies);
  for (const position of positions) {
    if (!Number.isFinite(position * fastest)) throw notFinite(position);
    for (const frequency of frequencies) {
      table[at++] = length * Math.cos(position * frequency);
      table[at++] = length * Math.sin(position * frequency);
    }
  }
  return {
    ...{ views, table, pairs: dims / 2, interleaved: style === "interleaved" },
    batchStride: positions.length > rows ? rows * dims : 0,
  };
}

/** The operation, which writes what it reads. */
export const rope: Operation<Rotation, null> = {
  name: "rope",
  cannot,
  inputs: ({ views: [q, k = null] }) => ({ q, k }),
  work: () => 0,
  rows: ({ views }) =>
    views.reduce((sum, { shape: [batch, heads, rows] }) => sum + batch * heads * rows, 0),
};

/** Rotates in place. */
export function runRope(
  asked: Machinery | Promise<Machinery>,
  plan: Rotation,
): Promise<void> {
  return run(asked, {
    operation: rope,
    plan,
    control: {},
    results: {},
    target: () => null,
    finish: () => {},
  });
}
