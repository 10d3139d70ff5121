/**
 * Checks of what divides a call into segments: offsets, numbers of keys, packed sequences.
 *
 * @module
 */

import type { Boundaries } from "../segments.ts";
import { cannot, isExtent, isWhole, kindOf } from "./words.ts";

/** What a number is wanted for each of: batches, or packed sequences. */
export interface Each {
  readonly count: number;
  /** `"batch"` or `"sequence"`. */
  readonly name: string;
}

function perEach({ count, name }: Each): string {
  return `one number per ${name}, ${name === "batch" ? `B = ${count}` : `${count} of them`}`;
}

/** One offset per segment, where they are given. */
export function checkOffsets(offset: unknown, each: Each): readonly number[] | null {
  if (offset === undefined) return null;
  const one = typeof offset === "number";
  if (!one && !(Array.isArray(offset) && offset.every((value) => typeof value === "number"))) {
    throw new TypeError(
      `${cannot}: \`offset\` must be a number or one per ${each.name}, got ${kindOf(offset)}`,
    );
  }
  const offsets = one ? new Array<number>(each.count).fill(offset) : offset;
  if (!offsets.every(isWhole)) {
    throw new RangeError(`${cannot}: \`offset\` must be whole, got ${offset}`);
  }
  if (offsets.length !== each.count) {
    throw new RangeError(
      `${cannot}: \`offset\` must have ${perEach(each)}, got ${offsets.length}`,
    );
  }
  return offsets;
}

/** An array-like of any numbers, as an array; `undefined` where it is none. */
function numbersOf(value: unknown): unknown[] | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { length } = value as ArrayLike<unknown>;
  return isExtent(length) ? Array.from(value as ArrayLike<unknown>) : undefined;
}

/**
 * How many keys of each segment count, where that is given; `most` gives how many keys a segment has,
 * and the name of that number.
 */
export function checkLengths(
  lengths: unknown,
  each: Each,
  most: (index: number) => readonly [keys: number, name: string],
): readonly number[] | null {
  if (lengths === undefined) return null;
  const given = numbersOf(lengths);
  if (given === undefined) {
    throw new TypeError(
      `${cannot}: \`kvLengths\` must be an array of one number per ${each.name}, ` +
        `got ${kindOf(lengths)}`,
    );
  }
  if (given.length !== each.count) {
    throw new RangeError(
      `${cannot}: \`kvLengths\` must have ${perEach(each)}, got ${given.length}`,
    );
  }
  const wrong = given.findIndex((count, index) => !isExtent(count) || count > most(index)[0]);
  if (wrong < 0) return given as number[];
  const [keys, name] = most(wrong);
  throw new RangeError(
    `${cannot}: \`kvLengths\` must be whole numbers from 0 to ${name} = ${keys}, got ${
      kindOf(given[wrong])
    }`,
  );
}

/** The boundaries of packed sequences, where they are given. */
export function checkBoundaries(
  cuSeqlens: unknown,
  batch: number,
  queries: number,
  keys: number,
): Boundaries | null {
  if (cuSeqlens === undefined) return null;
  const { q, k } = Object(cuSeqlens) as Record<"q" | "k", unknown>;
  const [ofQ, ofK] = [numbersOf(q), numbersOf(k)];
  if (ofQ === undefined || ofK === undefined) {
    throw new TypeError(
      `${cannot}: \`cuSeqlens\` must be { q, k } of Int32Array, got ${
        typeof cuSeqlens === "object" && cuSeqlens !== null
          ? `q: ${kindOf(q)}, k: ${kindOf(k)}`
          : kindOf(cuSeqlens)
      }`,
    );
  }
  if (batch !== 1) {
    throw new RangeError(
      `${cannot}: \`cuSeqlens\` needs B = 1, its sequences lie one after the other in one batch, ` +
        `got B = ${batch}`,
    );
  }
  if (ofQ.length !== ofK.length) {
    throw new RangeError(
      `${cannot}: \`cuSeqlens.q\` and \`cuSeqlens.k\` must have one length, ` +
        `got ${ofQ.length} and ${ofK.length}`,
    );
  }
  return {
    q: checkAscent("q", ofQ, "Nq", queries),
    k: checkAscent("k", ofK, "Nk", keys),
  };
}

function checkAscent(name: string, given: unknown[], axis: string, rows: number): number[] {
  const wrong = given.findIndex((at, index) =>
    !isExtent(at) || (index === 0 ? at !== 0 : at < (given[index - 1] as number))
  );
  if (wrong >= 0) {
    throw new RangeError(
      `${cannot}: \`cuSeqlens.${name}\` must begin with 0 and not decrease, got ${
        kindOf(given[wrong])
      } at index ${wrong}`,
    );
  }
  if (given.at(-1) !== rows) {
    throw new RangeError(
      `${cannot}: \`cuSeqlens.${name}\` must end with ${axis} = ${rows}, got ${
        kindOf(given.at(-1))
      }`,
    );
  }
  return given as number[];
}
