/**
 * Two checkouts compared: ratios within a pair of processes, and their median.
 *
 * @module
 */

import { type Spread, spreadOf } from "../spread.ts";

/** Milliseconds by the name of what was measured; what a checkout cannot do has none. */
export type Times = Readonly<Record<string, number>>;

/** What two processes measured one after the other, of this checkout and of the other. */
export interface Pair {
  readonly here: Times;
  readonly there: Times;
}

/** What came out for one measure. */
export interface Compared {
  readonly name: string;
  /** Milliseconds: the least of all processes. */
  readonly here: number;
  readonly there: number;
  /** Pairs in which both have it. */
  readonly pairs: number;
  /** Time here over time there, of these pairs. */
  readonly ratio: Spread;
  /** In a word, where the median is off by more than noise and the pairs agree. */
  readonly verdict: "slower" | "faster" | "";
}

/** Ratios nearer to 1 than this are not told from it. */
const visible = 0.02;

/**
 * Pairs that may disagree with the others on who is faster: one of eleven. Of two alike, one measure
 * in eighty looks different then.
 */
const disagreeing = 1 / 11;

/** Pairs that it takes to tell anything. */
const fewestPairs = 5;

/** Compares what both checkouts have, in the order of the first pair. */
export function compare(pairs: readonly Pair[]): Compared[] {
  return namesOf(pairs).flatMap((name) => {
    const both = pairs.filter(({ here, there }) => name in here && name in there);
    if (both.length === 0) return [];
    const here = both.map((pair) => pair.here[name]), there = both.map((pair) => pair.there[name]);
    const ratios = here.map((milliseconds, index) => milliseconds / there[index]);
    return [{
      name,
      pairs: both.length,
      here: Math.min(...here),
      there: Math.min(...there),
      ratio: spreadOf(ratios),
      verdict: verdictOn(ratios),
    }];
  });
}

function namesOf(pairs: readonly Pair[]): string[] {
  return [...new Set(pairs.flatMap(({ here, there }) => Object.keys({ ...here, ...there })))];
}

function verdictOn(ratios: readonly number[]): Compared["verdict"] {
  if (ratios.length < fewestPairs) return "";
  const { median } = spreadOf(ratios), mayDisagree = Math.floor(ratios.length * disagreeing);
  const faster = ratios.filter((ratio) => ratio < 1).length, slower = ratios.length - faster;
  if (median > 1 + visible && faster <= mayDisagree) return "slower";
  if (median < 1 - visible && slower <= mayDisagree) return "faster";
  return "";
}
