/**
 * Whose rows a call on a cache has is read: of which sequences, and where those of each are.
 *
 * @module
 */

import { openList } from "../../../check/tensors.ts";
import { isExtent, kindOf, readNumbers } from "../../../check/words.ts";
import type { NumberList } from "../../../tensor/tensor.ts";
import { readAscent, readCounts } from "./segments.ts";

/** What says whose rows there are. */
export interface RowsOptions {
  readonly sequences?: NumberList | undefined;
  readonly cuSeqlens?: NumberList | undefined;
  readonly lengths?: NumberList | undefined;
}

/** Rows of some sequences of a cache. */
export interface SequenceRows {
  /** Which sequences, in the order of their rows. */
  readonly sequences: readonly number[];
  /** Whether all lie in one batch; else each sequence has a batch. */
  readonly packed: boolean;
  /** Where the rows of each begin, and how many count. */
  readonly firsts: readonly number[];
  readonly counts: readonly number[];
}

/** Which of so many sequences a call is about; all by default. */
export function readSequences(given: unknown, batch: number, doing: string): readonly number[] {
  if (given === undefined) return Array.from({ length: batch }, (_, at) => at);
  const list = openList("sequences", given, doing);
  if (list === undefined) {
    throw new TypeError(
      `${doing}: \`sequences\` must be an array of their numbers, got ${kindOf(given)}`,
    );
  }
  const known = new Set<unknown>(), most = Math.min(list.length, batch + 1);
  const { numbers, wrong } = readNumbers(list, (one) => {
    const isNew = isExtent(one) && one < batch && !known.has(one);
    known.add(one);
    return isNew;
  }, most);
  if (wrong === undefined) return numbers;
  throw new RangeError(
    `${doing}: \`sequences\` must be different whole numbers from 0 to ${batch - 1}, ` +
      `got ${kindOf(wrong.value)}`,
  );
}

/**
 * Where the rows of each sequence are.
 *
 * @param rows Rows of a batch, and how messages call their number.
 */
export function readSequenceRows(
  { cuSeqlens, lengths }: RowsOptions,
  sequences: readonly number[],
  [rows, name]: readonly [rows: number, name?: string],
  doing: string,
): SequenceRows {
  const count = sequences.length, none = new Array<number>(count).fill(0);
  if (cuSeqlens !== undefined) {
    if (lengths !== undefined) {
      throw new TypeError(
        `${doing}: \`lengths\` cannot be given with \`cuSeqlens\`, which says how many rows count`,
      );
    }
    const bounds = readPacked(cuSeqlens, count, rows, doing);
    return {
      ...{ sequences, packed: true, firsts: bounds.slice(0, -1) },
      counts: none.map((_, at) => bounds[at + 1] - bounds[at]),
    };
  }
  const most = name === undefined ? [rows] as const : [rows, name] as const;
  const counts = lengths === undefined
    ? none.fill(rows)
    : readCounts("lengths", lengths, { count, name: "sequence", letter: "B" }, () => most, doing);
  return { sequences, packed: false, firsts: new Array<number>(count).fill(0), counts };
}

/** Where packed rows of so many sequences begin, and where they end. */
function readPacked(given: unknown, count: number, rows: number, doing: string): readonly number[] {
  const list = openList("cuSeqlens", given, doing);
  if (list?.length === count + 1) {
    const bounds = readAscent("cuSeqlens", list, doing);
    if (bounds[count] === rows) return bounds;
    throw new RangeError(
      `${doing}: \`cuSeqlens\` must end with N = ${rows}, the rows of all sequences, ` +
        `got ${bounds[count]}`,
    );
  }
  const Kind = list === undefined ? TypeError : RangeError;
  throw new Kind(
    `${doing}: \`cuSeqlens\` must be where the rows of each sequence begin, and where all end, ` +
      `${count + 1} numbers, got ${list === undefined ? kindOf(given) : list.length}`,
  );
}
