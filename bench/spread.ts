/**
 * What is told of repeated measurements.
 *
 * @module
 */

/** Where the middle of some numbers is, and the middle half of them. */
export interface Spread {
  readonly median: number;
  readonly lower: number;
  readonly upper: number;
}

/** The number below which a share of the numbers lies, between neighbours where it falls there. */
function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1), below = Math.floor(at);
  const next = sorted[Math.min(below + 1, sorted.length - 1)];
  return sorted[below] + (at - below) * (next - sorted[below]);
}

function ascending(numbers: readonly number[]): number[] {
  return numbers.toSorted((a, b) => a - b);
}

/** The median of numbers. */
export function median(numbers: readonly number[]): number {
  return quantile(ascending(numbers), 0.5);
}

/** Median and quartiles of numbers. */
export function spreadOf(numbers: readonly number[]): Spread {
  const sorted = ascending(numbers);
  return {
    median: quantile(sorted, 0.5),
    lower: quantile(sorted, 0.25),
    upper: quantile(sorted, 0.75),
  };
}
