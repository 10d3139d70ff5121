/**
 * What a rotation comes to: its angles, in double precision. Loaded at the first call.
 *
 * @module
 */

import { checkHeads, sharesElements } from "../../check/tensors.ts";
import { checkKeys, checkLayoutName, checkOneOf, kindOf } from "../../check/words.ts";
import { mayOverlap, sizeOf, viewOf } from "../../tensor/tensor.ts";
import { cannot, type ReadList, type ReadScaling, type RopeCall } from "./options.ts";
import type { Rotation } from "./rotation.ts";

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
  scaling: ReadScaling | undefined,
): { frequencies: number[]; length: number } {
  const pairs = dims / 2, frequency = (base: number, pair: number) => base ** (-pair / pairs);
  const scaled = (scale: (plain: number, pair: number) => number, length = 1) => ({
    frequencies: Array.from({ length: pairs }, (_, at) => scale(frequency(theta, at), at)),
    length,
  });
  if (scaling === undefined) return scaled((plain) => plain);
  if (scaling.type === "longrope") {
    const { factors: { numbers }, attentionFactor = 1 } = scaling;
    checkNumber("scaling.attentionFactor", attentionFactor, 0);
    return scaled((plain, at) => plain / numbers[at], attentionFactor);
  }
  const { type, factor } = scaling;
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
  const { betaFast = 32, betaSlow = 1, truncate = true } = scaling;
  const { attentionFactor = 0.1 * Math.log(factor) + 1 } = scaling;
  checkNumber("scaling.betaSlow", betaSlow, 0);
  checkNumber("scaling.betaFast", betaFast, betaSlow);
  checkNumber("scaling.attentionFactor", attentionFactor, 0);
  checkOneOf("scaling.truncate", truncate, [true, false], cannot);
  /** The pair that makes so many turns. */
  const pairOf = (turns: number) =>
    pairs * Math.log(originalLength / (turns * 2 * Math.PI)) / Math.log(theta);
  const [first, last] = [pairOf(betaFast), pairOf(betaSlow)];
  const low = Math.max(0, truncate ? Math.floor(first) : first);
  const high = Math.min(dims - 1, truncate ? Math.ceil(last) : last);
  const span = Math.max(1e-3, high - low);
  return scaled((plain, at) => blend(plain, 1 - clamp01((at - low) / span)), attentionFactor);
}

const scalings: Readonly<Record<ReadScaling["type"], readonly string[]>> = {
  linear: ["factor"],
  ntk: ["factor"],
  llama3: ["factor", "originalLength", "lowFrequencyFactor", "highFrequencyFactor"],
  yarn: ["factor", "originalLength", "betaFast", "betaSlow", "attentionFactor", "truncate"],
  longrope: ["factors", "attentionFactor"],
};

/** Checks a scaling, as it was read: what it may have depends on its type. */
function checkScaling(scaling: ReadScaling, pairs: number): void {
  const { type } = Object(scaling) as ReadScaling;
  checkOneOf("scaling.type", type ?? null, Object.keys(scalings), cannot);
  checkKeys(scaling, ["type", ...scalings[type]], cannot);
  if (scaling.type === "longrope") checkFactors(scaling.factors, pairs);
}

/** Checks that there is a divisor for each pair. */
function checkFactors(factors: ReadList | undefined, pairs: number): void {
  const { kind = "undefined", shape, numbers = [], wrong } = factors ?? {};
  if (shape?.length !== 1 || shape[0] !== pairs) {
    const Kind = shape === undefined ? TypeError : RangeError;
    throw new Kind(
      `${cannot}: \`scaling.factors\` must be ${pairs} numbers for \`dims / 2\` pairs, got ${
        shape === undefined ? kind : `[${shape}]`
      }`,
    );
  }
  const bad = wrong === undefined ? numbers.find((one) => one <= 0) : wrong.value;
  if (bad !== undefined || wrong !== undefined) checkNumber("scaling.factors", bad, 0);
}

/** Of each pair, the axis whose positions turn it; `null` where there is one axis. */
function axesOfPairs(
  sections: ReadList | undefined,
  style: RopeCall["options"]["sectionStyle"] = "blocks",
  pairs: number,
): { readonly axes: number; readonly of: readonly number[] } | null {
  checkOneOf("sectionStyle", style, ["blocks", "interleaved"], cannot);
  if (sections === undefined) return null;
  const { kind, shape, numbers, wrong } = sections, axes = numbers.length;
  const isWhole = wrong === undefined && shape?.length === 1 &&
    numbers.every((one) => Number.isSafeInteger(one) && one >= 0);
  if (!isWhole || numbers.reduce((sum, one) => sum + one, 0) !== pairs) {
    const Kind = shape === undefined ? TypeError : RangeError;
    throw new Kind(
      `${cannot}: \`sections\` must be whole numbers >= 0 whose sum is \`dims / 2\` = ${pairs}, got ${
        shape === undefined ? kind : `[${wrong === undefined ? numbers : kindOf(wrong.value)}]`
      }`,
    );
  }
  if (style === "blocks") return { axes, of: numbers.flatMap((n, axis) => Array(n).fill(axis)) };
  const of = new Array<number>(pairs).fill(0);
  for (let axis = 1; axis < axes; axis++) {
    const last = axis + (numbers[axis] - 1) * axes;
    if (last >= pairs) {
      throw new RangeError(
        `${cannot}: \`sections\` must leave room for the ${
          numbers[axis]
        } pairs of axis ${axis} in turn with ` +
          `those of others, got [${numbers}]`,
      );
    }
    for (let pair = axis; pair <= last; pair += axes) of[pair] = axis;
  }
  return { axes, of };
}

/** Positions of each axis, one for each row of the table. */
function positionsByAxis(
  given: number | ReadList,
  shape: readonly number[],
  axes: number | undefined,
): readonly (readonly number[])[] {
  const rank = typeof given === "number" ? 0 : given.shape?.length ?? 0;
  if (axes === undefined || rank < 2) return Array(axes ?? 1).fill(positionsOf(given, shape));
  const { shape: of, numbers, wrong } = given as ReadList, [batch, , rows] = shape;
  const expected = rank === 2 ? [axes, rows] : [axes, batch, rows];
  if (`${of}` !== `${expected}`) {
    throw new RangeError(
      `${cannot}: \`positions\` must be a number, or with \`sections\` [axes, N] = [${axes}, ${rows}] or ` +
        `[axes, B, N] = [${axes}, ${batch}, ${rows}], got [${of}]`,
    );
  }
  if (wrong !== undefined) throw notFinite(wrong.value);
  const each = numbers.length / axes;
  return Array.from({ length: axes }, (_, axis) => numbers.slice(axis * each, (axis + 1) * each));
}

/** One position for each row of the table. */
function positionsOf(
  given: number | ReadList,
  [batch, heads, rows]: readonly number[],
): readonly number[] {
  const isEmpty = batch * heads === 0; // Then there may be any number of rows.
  if (typeof given === "number") {
    return Array.from({ length: isEmpty ? 0 : rows }, (_, at) => given + at);
  }
  const { kind, shape, numbers, wrong } = given, length = shape && sizeOf(shape);
  const fits = shape !== undefined &&
    (shape.length === 1 || (shape.length === 2 && shape[1] === rows)) &&
    (length === rows || length === batch * rows);
  if (!fits) {
    throw new RangeError(
      `${cannot}: \`positions\` must be a number, or ${rows} of them for N rows, or ` +
        `${batch * rows} for B times N, got ${shape === undefined ? kind : `[${shape}]`}`,
    );
  }
  if (wrong !== undefined) throw notFinite(wrong.value);
  return numbers;
}

function notFinite(position: unknown): RangeError {
  return new RangeError(
    `${cannot}: \`positions\` must be finite, and angles too, got ${kindOf(position)}`,
  );
}

/**
 * Checks a call, and works out its angles in double precision.
 *
 * @param inPlace Whether rows are turned where they are, and not copies of them.
 */
export function planRotation(
  { q, k, positions: given, options }: RopeCall,
  inPlace = true,
): Rotation {
  const { theta = 10_000, style = "half", layout = "bhnd", scaling } = options;
  checkLayoutName(layout, cannot);
  checkOneOf("style", style, ["half", "interleaved"], cannot);
  checkNumber("theta", theta, 0);
  const views = Object.entries({ q, k }).flatMap(([name, tensor]) => {
    if (tensor === null) return [];
    const view = viewOf(tensor, layout);
    checkHeads(name, view, cannot);
    if (!inPlace || !sharesElements(view)) return [view];
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
  if (inPlace && views.length > 1 && mayOverlap(views[0], views[1])) {
    throw new RangeError(`${cannot}: \`q\` and \`k\` share elements, which would be turned twice`);
  }
  const { dims = dim } = options;
  if (!(Number.isSafeInteger(dims) && dims >= 2 && dims <= dim && dims % 2 === 0)) {
    throw new RangeError(
      `${cannot}: \`dims\` must be even and from 2 to D = ${dim}, got ${kindOf(dims)}`,
    );
  }
  if (scaling !== undefined) checkScaling(scaling, dims / 2);
  // A tensor without elements may have any number of columns.
  const isEmpty = sizeOf(views[0].shape) === 0;
  const { frequencies, length } = scaleFrequencies(theta, isEmpty ? 2 : dims, scaling);
  const ofPairs = axesOfPairs(options.sections, options.sectionStyle, dims / 2);
  const positions = positionsByAxis(given, views[0].shape, ofPairs?.axes), [first] = positions;
  const table = new Float32Array(first.length * dims);
  let at = 0;
  const fastest = Math.max(...frequencies);
  for (const axis of positions) {
    const far = axis.find((position) => !Number.isFinite(position * fastest));
    if (far !== undefined) throw notFinite(far);
  }
  for (let row = 0; row < first.length; row++) {
    for (const [pair, frequency] of frequencies.entries()) {
      const angle = positions[ofPairs?.of[pair] ?? 0][row] * frequency;
      table[at++] = length * Math.cos(angle);
      table[at++] = length * Math.sin(angle);
    }
  }
  return {
    ...{ views, table, pairs: dims / 2, interleaved: style === "interleaved" },
    batchStride: first.length > rows ? rows * dims : 0,
  };
}
