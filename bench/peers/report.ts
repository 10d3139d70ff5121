/**
 * What the bench finds, as it stands in `bench/results/`.
 *
 * @module
 */

import type { Machine } from "../machine.ts";
import type { Shape } from "./problem.ts";

/** How often theirs takes the time of ours, in turns next to each other; above 1 we are faster. */
export interface Ratio {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/** A peer's speed in a race. */
export interface Raced {
  readonly peer: string;
  /** Milliseconds of one call. */
  readonly median: number;
  readonly best: number;
  readonly worst: number;
  readonly turns: number;
  /** Of the keys that are seen. */
  readonly gflops: number;
  /** Against FlashTile; absent for itself and where it failed. */
  readonly ratio?: Ratio;
  /** Largest error against the oracle in the rows that were looked at. */
  readonly error: number;
}

/** A peer that gave no figure. */
export interface Missing {
  readonly peer: string;
  /** `refused`: it has no such thing; `left out`: it would take too much and was not tried. */
  readonly kind: "failed" | "refused" | "left out";
  readonly reason: string;
}

/** Peers in turn in one process. */
export interface Race {
  readonly runtime: string;
  readonly threads: number;
  readonly shape: Shape;
  readonly rows: readonly (Raced | Missing)[];
}

/** One length of a growth curve. */
export interface Point {
  readonly length: number;
  readonly milliseconds: number;
  readonly bytes: number;
  readonly error: number;
}

/** A peer over growing lengths, one head, each length in a process of its own. */
export interface Growth {
  readonly peer: string;
  readonly points: readonly Point[];
  /** Where it ended before the last length, and why. */
  readonly end?: { readonly length: number } & Omit<Missing, "peer">;
}

/** Which version of a peer ran, and what to know about it. */
export interface Named {
  readonly name: string;
  readonly version?: string;
  readonly note: string;
}

/** Everything that a run found. */
export interface Report {
  readonly machine: Machine;
  readonly peers: readonly Named[];
  readonly races: readonly Race[];
  readonly growth: {
    readonly runtime: string;
    readonly shape: Omit<Shape, "queries" | "keys">;
    readonly curves: readonly Growth[];
  };
}

/** What a row of a table or a line of the plot calls a shape. */
export function describe({ heads, queries, keys, dim, causal }: Shape): string {
  const length = queries === keys ? `N=${keys}` : `${queries} query, ${keys} keys`;
  return `H=${heads} D=${dim} ${length} ${causal ? "causal" : "dense"}`;
}
