/**
 * Positive orthogonal random features (arXiv 2009.14794, section 2.4): directions in blocks of D that are orthogonal to
 * one another, with the lengths of rows of normal numbers.
 *
 * Everything here is sums, products, quotients, roots and whole numbers, which are rounded alike everywhere: no sine and
 * no logarithm of the platform's, so that the bits of a seed are the same on every machine.
 *
 * @module
 */

/** Counters that random numbers are made of: Philox 2x32-10 (Salmon et al., SC 2011), by its seed. */
export class Philox {
  readonly #key: number;
  readonly #high: number;
  #counter = 0;
  #second: number | undefined;

  /** @param seed Whole, from 0 to 2^53 - 1: its lower 32 bits are the key, the others the counter's upper ones. */
  constructor(seed: number) {
    this.#key = seed >>> 0;
    this.#high = Math.floor(seed / 2 ** 32);
  }

  /** The next 32 bits. */
  next(): number {
    if (this.#second !== undefined) {
      const second = this.#second;
      this.#second = undefined;
      return second;
    }
    const [first, second] = encrypt(this.#counter++, this.#high, this.#key);
    this.#second = second;
    return first;
  }

  /** A number between -1 and 1, of 32 bits: the middle of one of 2^32 intervals. */
  between(): number {
    return (this.next() + 0.5) / 2 ** 31 - 1;
  }
}

/** Both halves of a product of two numbers of 32 bits. */
function multiply(a: number, b: number): [high: number, low: number] {
  const low = (a & 0xffff) * b, high = (a >>> 16) * b;
  const middle = Math.floor(low / 2 ** 16) + high;
  return [Math.floor(middle / 2 ** 16), Math.imul(a, b) >>> 0];
}

/** Ten rounds of Philox 2x32. */
export function encrypt(low: number, high: number, key: number): [number, number] {
  for (let round = 0; round < 10; round++) {
    const [upper, lower] = multiply(low, 0xd256d193);
    [low, high] = [(upper ^ key ^ high) >>> 0, lower];
    key = (key + 0x9e3779b9) >>> 0;
  }
  return [low, high];
}

/** The natural logarithm of what is above 0 and at most 1, within some units in the last place. */
export function logOf(x: number): number {
  let power = 0;
  for (; x < Math.SQRT1_2; power--) x *= 2;
  // ln x = 2 artanh t: |t| is at most 0.172, and the terms left out are below 2^-56.
  const t = (x - 1) / (x + 1), square = t * t;
  let sum = 0;
  for (let odd = 21; odd > 0; odd -= 2) sum = sum * square + 1 / odd;
  return power * Math.LN2 + 2 * t * sum;
}

/** Normal numbers, by Marsaglia's polar method. */
export function fillNormal(row: Float64Array, random: Philox): void {
  for (let at = 0; at < row.length;) {
    const x = random.between(), y = random.between(), square = x * x + y * y;
    if (square >= 1) continue;
    const factor = Math.sqrt(-2 * logOf(square) / square);
    row[at++] = x * factor;
    if (at < row.length) row[at++] = y * factor;
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += a[at] * b[at];
  return sum;
}

/** Takes from a row what it has of others, which are of length 1 and orthogonal. Twice is enough (Kahan). */
function makeOrthogonal(row: Float64Array, others: readonly Float64Array[]): void {
  for (let pass = 0; pass < 2; pass++) {
    for (const other of others) {
      const share = dot(row, other);
      for (let at = 0; at < row.length; at++) row[at] -= share * other[at];
    }
  }
}

function multiplyRow(row: Float64Array, factor: number): void {
  for (let at = 0; at < row.length; at++) row[at] *= factor;
}

/** How many features there are unless it is said. */
export function usualFeatures(dim: number): number {
  return Math.max(8, Math.ceil(dim * Math.log(dim) / 8) * 8);
}

/** Random features, `[features][dim]`: a block of rows after the other, then the length of each. */
export function randomProjection(features: number, dim: number, seed: number): Float32Array {
  const random = new Philox(seed), all = new Float32Array(features * dim);
  const length = new Float64Array(dim);
  for (let from = 0; from < features; from += dim) {
    const block: Float64Array[] = [];
    for (let row = from; row < Math.min(features, from + dim); row++) {
      const direction = new Float64Array(dim);
      fillNormal(direction, random);
      makeOrthogonal(direction, block);
      multiplyRow(direction, 1 / Math.sqrt(dot(direction, direction)));
      block.push(direction);
    }
    for (const [index, direction] of block.entries()) {
      fillNormal(length, random);
      const by = Math.sqrt(dot(length, length));
      for (let at = 0; at < dim; at++) all[(from + index) * dim + at] = direction[at] * by;
    }
  }
  return all;
}

/** Those that were asked for last: calls of one model ask for the same. */
const made = new Map<string, Float32Array>();

/** How many are kept, and of how many numbers each. */
const mostMade = 8, mostKept = 2 ** 20;

/** The same, kept for the next call. Nobody may write to it. */
export function keptProjection(features: number, dim: number, seed: number): Float32Array {
  const key = `${features} ${dim} ${seed}`;
  const numbers = made.get(key) ?? randomProjection(features, dim, seed);
  made.delete(key);
  if (numbers.length <= mostKept) made.set(key, numbers);
  if (made.size > mostMade) made.delete(made.keys().next().value!);
  return numbers;
}
