/**
 * What argmax() and sample() mean: ids of logits, row by row.
 *
 * @module
 */

import { isWhole, kindOf } from "../../check/words.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { type Elements, isGpuBuffer } from "../../tensor/dtype.ts";
import type { AnyTensor, View } from "../../tensor/tensor.ts";
import { useAll } from "../../tensor/lending.ts";
import type { SampleOptions } from "./options.ts";
import { piecesOf, type PlacedTensor, readPlaced } from "./rows.ts";

/** How ids are chosen, as it was read. */
export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  /** Numbers from 0 to before 1. */
  readonly random: () => number;
}

/** Reads logits, which must be in arrays. */
export function readLogits(given: AnyTensor, doing: string): PlacedTensor {
  const logits = readPlaced("logits", given, doing);
  if (isGpuBuffer(logits.data)) {
    throw new TypeError(`${doing}: \`logits\` is a GPUBuffer, ids are chosen on the CPU`);
  }
  if (logits.shape.at(-1) !== 0) return logits;
  throw new RangeError(
    `${doing}: \`logits\` must have at least one id, got shape [${logits.shape}]`,
  );
}

function checkNumber(name: string, value: unknown, isRight: boolean, what: string, doing: string) {
  if (typeof value === "number" && isRight) return;
  throw new RangeError(`${doing}: \`${name}\` must be ${what}, got ${kindOf(value)}`);
}

/** Reads how ids are chosen. */
export function readSampling(
  { temperature = 1, topK = Infinity, topP = 1, minP = 0, seed }: SampleOptions,
  doing: string,
): Sampling {
  const isTemperature = temperature >= 0 && Number.isFinite(temperature);
  checkNumber("temperature", temperature, isTemperature, "finite and at least 0", doing);
  const isTopK = topK === Infinity || (isWhole(topK) && topK >= 1);
  checkNumber("topK", topK, isTopK, "a whole number of at least 1", doing);
  checkNumber("topP", topP, topP > 0 && topP <= 1, "above 0 and at most 1", doing);
  checkNumber("minP", minP, minP >= 0 && minP < 1, "at least 0 and below 1", doing);
  if (seed !== undefined) checkNumber("seed", seed, isWhole(seed), "a whole number", doing);
  return { temperature, topK, topP, minP, random: randomFrom(seed) };
}

/** Numbers from 0 to before 1: of a seed always the same (splitmix32, by Steele et al., OOPSLA 2014). */
function randomFrom(seed: number | undefined): () => number {
  if (seed === undefined) return Math.random;
  let state = (seed ^ Math.floor(seed / 2 ** 32)) | 0;
  return () => {
    state = state + 0x9e3779b9 | 0;
    let bits = Math.imul(state ^ state >>> 16, 0x21f0aaad);
    bits = Math.imul(bits ^ bits >>> 15, 0x735a2d97);
    return ((bits ^ bits >>> 15) >>> 0) / 2 ** 32;
  };
}

const widened = new Float32Array(1), widenedBits = new Uint32Array(widened.buffer);

/** The number that 16 bits stand for. */
function widen(bits: number, dtype: "f16" | "bf16"): number {
  if (dtype === "bf16") {
    widenedBits[0] = bits << 16;
    return widened[0];
  }
  const exponent = bits >> 10 & 31, rest = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return rest === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? rest * 2 ** -24 : (1024 + rest) * 2 ** (exponent - 25));
}

/** Copies a row of logits. */
function readRow(
  { data, dtype, offset, shape, strides }: View,
  row: number,
  to: Float32Array,
): void {
  const elements = (data as HeldArray<Elements>).now(), first = offset + row * strides[2];
  for (let id = 0; id < shape[3]; id++) {
    const element = elements[first + id * strides[3]];
    to[id] = dtype === "f32" ? element : widen(element, dtype);
  }
}

/** Chooses an id for each row. */
export function chooseRows(
  logits: PlacedTensor,
  choose: (row: Float32Array) => number,
): Int32Array<ArrayBuffer> {
  const leading = logits.shape.slice(0, -1), row = new Float32Array(logits.shape.at(-1)!);
  const ids = new Int32Array(leading.reduce((product, extent) => product * extent, 1));
  const leave = useAll([logits]);
  try {
    let at = 0;
    for (const [view] of piecesOf(leading, [logits])) {
      for (let index = 0; index < view!.shape[2]; index++) {
        readRow(view!, index, row);
        ids[at++] = choose(row);
      }
    }
    return ids;
  } finally {
    leave();
  }
}

/** The greatest; of equals the first, and a NaN is greater than all. */
export function greatest(row: Float32Array): number {
  let id = 0;
  for (let at = 0; at < row.length && row[id] === row[id]; at++) {
    if (row[at] > row[id] || row[at] !== row[at]) id = at;
  }
  return id;
}

/** Ids from the likeliest on, of which so many are kept as `topK` says. */
function likeliest(row: Float32Array, topK: number): Uint32Array | number[] {
  if (topK >= row.length) {
    return Uint32Array.from(row, (_, id) => id).sort((a, b) => row[b] - row[a] || a - b);
  }
  // A few of many: a list of the greatest so far, in order.
  const kept: number[] = [];
  for (let id = 0; id < row.length; id++) {
    if (kept.length === topK && !(row[id] > row[kept[topK - 1]])) continue;
    let at = kept.length;
    while (at > 0 && row[id] > row[kept[at - 1]]) at--;
    kept.splice(at, 0, id);
    if (kept.length > topK) kept.pop();
  }
  return kept;
}

/**
 * Draws an id by the softmax of logits over `temperature`, of those that are left: the `topK` likeliest; of these such as
 * are at least `minP` times as likely as the first; and of these the least number that have `topP` together.
 */
export function draw(
  row: Float32Array,
  { temperature, topK, topP, minP, random }: Sampling,
): number {
  const first = greatest(row);
  if (temperature === 0 || topK === 1 || !Number.isFinite(row[first])) return first;
  if (topK >= row.length && topP === 1) return drawAmong(row, first, temperature, minP, random);
  const ids = likeliest(row, topK), weights: number[] = [];
  let sum = 0;
  for (const id of ids) {
    const weight = Math.exp((row[id] - row[first]) / temperature);
    if (!(weight >= minP) || weight === 0) break;
    weights.push(weight);
    sum += weight;
  }
  let left = topP * sum, count = 0, kept = 0;
  while (count < weights.length && left > 0) {
    left -= weights[count];
    kept += weights[count++];
  }
  return ids[pick(weights, count, kept * random())];
}

/** Draws among all: nothing needs to be in order. */
function drawAmong(
  row: Float32Array,
  first: number,
  temperature: number,
  minP: number,
  random: () => number,
): number {
  const weights = Float64Array.from(row, (logit) => {
    const weight = Math.exp((logit - row[first]) / temperature);
    return weight >= minP ? weight : 0;
  });
  const sum = weights.reduce((a, b) => a + b, 0);
  return pick(weights, weights.length, sum * random());
}

/** The place that a number falls on among weights side by side. */
function pick(weights: ArrayLike<number>, count: number, at: number): number {
  let last = 0;
  for (let place = 0; place < count; place++) {
    if (weights[place] === 0) continue;
    if (at < weights[place]) return place;
    at -= weights[place];
    last = place;
  }
  return last;
}
