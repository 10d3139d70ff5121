/**
 * Rows of a race's table: times of each, and how many times ours they are.
 *
 * @module
 */

import type { Answer } from "./orders.ts";
import { median } from "../spread.ts";
import { ratioOf } from "./races.ts";
import type { Missing, Ratio } from "./report.ts";

/** Times of one subject, in milliseconds. */
export interface Row {
  readonly peer: string;
  readonly median: number;
  readonly best: number;
  readonly worst: number;
  readonly error: number;
  readonly ratio: Ratio;
}

/** The rows of a race; times are compared with those of `first`. */
export function rowsOf(answers: readonly Answer[], first: string): (Row | Missing)[] {
  const raced = answers.filter((answer) => answer.kind === "raced");
  const mine = raced.find(({ peer }) => peer === first)?.milliseconds ?? [];
  const rows = raced.map(({ peer, milliseconds, error }): Row => ({
    peer,
    median: median(milliseconds),
    best: Math.min(...milliseconds),
    worst: Math.max(...milliseconds),
    error,
    ratio: ratioOf(milliseconds, mine),
  }));
  const failures = answers.flatMap((answer) =>
    answer.kind === "failed" || answer.kind === "refused" ? [answer] : []
  );
  return [...rows, ...failures];
}

/** Prints them. */
export function printRows(rows: readonly (Row | Missing)[]): void {
  for (const row of rows) {
    const figures = "reason" in row ? [`${row.kind}: ${row.reason}`] : [
      `${row.median.toFixed(2)} ms (${row.best.toFixed(2)}-${row.worst.toFixed(2)})`,
      `${row.ratio.median.toFixed(2)}x (${row.ratio.lowest.toFixed(2)}-${
        row.ratio.highest.toFixed(2)
      })`,
      row.error.toExponential(1),
    ];
    console.log([row.peer.padEnd(38), ...figures.map((figure) => figure.padStart(26))].join(""));
  }
}
