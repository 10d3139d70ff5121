/**
 * What was measured here beside what introductions print, as cells of a table.
 *
 * @module
 */

import { introductions } from "./figures.ts";
import { short } from "./format.ts";
import type { Own } from "./own.ts";

/** Milliseconds of a length. */
export type Times = Omit<Own, "difference" | "length">;

/** Two times that are compared: the longer one, by rights, and the shorter one. */
export type Pair = readonly [keyof Times, keyof Times];

/** What is compared, and how it is called. */
export const pairs = {
  attention: { of: ["standard", "flash"], names: ["standard", "flash"] },
  decoding: { of: ["withoutCache", "withCache"], names: ["no cache", "cache"] },
} as const;

/** A row of cells. */
export interface Row {
  readonly length: string;
  /** Both times and their ratio; dashes where nothing has been measured. */
  readonly here: readonly string[];
  readonly there: readonly string[];
}

/** Rows of a table for all lengths. */
export function compare(pair: Pair, all: readonly Own[]): Row[] {
  return introductions.map((there) => {
    const own = all.find(({ length }) => length === there.length);
    return {
      length: `${there.length}`,
      here: own === undefined ? ["–", "–", "–"] : cells(pair, own, short),
      // As printed there.
      there: cells(pair, there, (time) => time.toFixed(1)),
    };
  });
}

function cells([slower, faster]: Pair, times: Times, format: (time: number) => string): string[] {
  return [format(times[slower]), format(times[faster]), short(times[slower] / times[faster])];
}
