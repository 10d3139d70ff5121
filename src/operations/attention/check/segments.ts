/**
 * What divides a call into segments is read: offsets, numbers of keys, packed sequences.
 *
 * @module
 */

import { openList } from "../../../check/tensors.ts";
import { cannot, isExtent, isWhole, kindOf, type List, readNumbers } from "../../../check/words.ts";
import type { Boundaries } from "../segments.ts";

/** What a number is wanted for each of: batches, or packed sequences. */
export interface Each {
  readonly count: number;
  /** `"batch"` or `"sequence"`. */
  readonly name: string;
  /** How shapes call the count, where they do. */
  readonly letter?: string;
}

function perEach({ count, name, letter }: Each): string {
  return `one number per ${name}, ${letter ? `${letter} = ${count}` : `${count} of them`}`;
}

/** One offset per segment, where they are given. */
export function readOffsets(offset: unknown, each: Each): readonly number[] | null {
  if (offset === undefined) return null;
  const refuse = (got: unknown) =>
    new TypeError(
      `${cannot}: \`offset\` must be a number or one per ${each.name}, got ${kindOf(got)}`,
    );
  if (typeof offset === "number") {
    if (!isWhole(offset)) throw notWhole(offset);
    return new Array<number>(each.count).fill(offset);
  }
  const list = openList("offset", offset);
  if (list === undefined) throw refuse(offset);
  checkCount("offset", list, each, cannot);
  const { numbers, wrong } = readNumbers(list, (value) => typeof value === "number");
  if (wrong !== undefined) throw refuse(offset);
  if (numbers.every(isWhole)) return numbers;
  throw notWhole(numbers);
}

function notWhole(offset: number | readonly number[]): RangeError {
  return new RangeError(`${cannot}: \`offset\` must be whole, got ${offset}`);
}

function checkCount(name: string, { length }: List, each: Each, doing: string): void {
  if (length === each.count) return;
  throw new RangeError(`${doing}: \`${name}\` must have ${perEach(each)}, got ${length}`);
}

/**
 * How many keys of each segment count, where that is given; `most` gives how many keys a segment has,
 * and the name of that number.
 */
export function readLengths(
  lengths: unknown,
  each: Each,
  most: (index: number) => readonly [keys: number, name: string],
): readonly number[] | null {
  if (lengths === undefined) return null;
  return readCounts("kvLengths", lengths, each, most);
}

/**
 * One count for each of some, of at most as many as each has: `most` gives these, and how they are
 * called.
 */
export function readCounts(
  name: string,
  counts: unknown,
  each: Each,
  most: (index: number) => readonly [most: number, name?: string],
  doing = cannot,
): readonly number[] {
  const list = openList(name, counts, doing);
  if (list === undefined) {
    throw new TypeError(
      `${doing}: \`${name}\` must be an array of one number per ${each.name}, got ${
        kindOf(counts)
      }`,
    );
  }
  checkCount(name, list, each, doing);
  const { numbers, wrong } = readNumbers(
    list,
    (count, index) => isExtent(count) && count <= most(index)[0],
  );
  if (wrong === undefined) return numbers;
  const bound = [...most(numbers.length)].reverse().join(" = ");
  throw new RangeError(
    `${doing}: \`${name}\` must be whole numbers from 0 to ${bound}, got ${kindOf(wrong.value)}`,
  );
}

/** How packed sequences may be said: by where they begin, or by how long they are. */
type Packing = "cuSeqlens" | "packed";

/** The boundaries of packed sequences, where they are given. */
export function readBoundaries(
  { cuSeqlens, packed }: Readonly<Partial<Record<Packing, unknown>>>,
  batch: number,
  queries: number,
  keys: number,
): Boundaries | null {
  const name = cuSeqlens === undefined ? "packed" : "cuSeqlens",
    given = { cuSeqlens, packed }[name];
  if (given === undefined) return null;
  if (cuSeqlens !== undefined && packed !== undefined) {
    throw new TypeError(`${cannot}: \`cuSeqlens\` and \`packed\` say the same, give one of them`);
  }
  const { q, k } = Object(given) as Record<"q" | "k", unknown>;
  const isOne = q === undefined && k === undefined;
  const ofQ = openList(`${name}.q`, isOne ? given : q);
  const ofK = isOne ? ofQ : openList(`${name}.k`, k);
  if (ofQ === undefined || ofK === undefined) {
    throw new TypeError(
      `${cannot}: \`${name}\` must be { q, k } of arrays, or one for both, got ${
        isOne ? kindOf(given) : `q: ${kindOf(q)}, k: ${kindOf(k)}`
      }`,
    );
  }
  if (batch !== 1) {
    throw new RangeError(
      `${cannot}: \`${name}\` needs B = 1, its sequences lie one after the other in one batch, ` +
        `got B = ${batch}`,
    );
  }
  if (ofQ.length !== ofK.length) {
    throw new RangeError(
      `${cannot}: \`${name}.q\` and \`${name}.k\` must have one length, ` +
        `got ${ofQ.length} and ${ofK.length}`,
    );
  }
  const read = name === "packed" ? readSum : readAscent;
  const ofQueries = read(`${name}.q`, ofQ);
  const ofKeys = isOne ? ofQueries : read(`${name}.k`, ofK);
  return {
    q: checkEnd(name, "q", ofQueries, "Nq", queries),
    k: checkEnd(name, "k", ofKeys, "Nk", keys),
  };
}

/** Numbers that begin with 0 and do not decrease. */
export function readAscent(name: string, list: List, doing = cannot): readonly number[] {
  const { numbers, wrong } = readNumbers(
    list,
    (at, index, before) => isExtent(at) && (index === 0 ? at === 0 : at >= before[index - 1]),
  );
  if (wrong === undefined) return numbers;
  throw new RangeError(
    `${doing}: \`${name}\` must begin with 0 and not decrease, got ${
      kindOf(wrong.value)
    } at index ${numbers.length}`,
  );
}

/** Boundaries of sequences that are so long. */
function readSum(name: string, list: List): readonly number[] {
  const { numbers, wrong } = readNumbers(list, isExtent), ends = [0];
  if (wrong !== undefined) {
    throw new RangeError(
      `${cannot}: \`${name}\` must be whole numbers >= 0, got ${
        kindOf(wrong.value)
      } at index ${numbers.length}`,
    );
  }
  for (const [index, length] of numbers.entries()) ends.push(ends[index] + length);
  return ends;
}

function checkEnd(
  name: Packing,
  side: string,
  numbers: readonly number[],
  axis: string,
  rows: number,
): readonly number[] {
  if (numbers.at(-1) === rows) return numbers;
  const must = name === "packed" ? "have the sum" : "end with";
  throw new RangeError(
    `${cannot}: \`${name}.${side}\` must ${must} ${axis} = ${rows}, got ${kindOf(numbers.at(-1))}`,
  );
}
