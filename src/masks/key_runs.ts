/**
 * Key runs: which keys each block of queries sees, as bounds alone. What a mask of blocks can say of blocks of its own
 * size, these say of any keys, without a bit of memory for each.
 *
 * @module
 */

/** Keys `from` to before `to`. */
export type KeyRun = readonly [from: number, to: number];

/** Of every block of queries the keys that all of its queries see, for all batches and heads. */
export class KeyRuns {
  readonly batch = 1;
  readonly heads = 1;
  /** Queries of a block; keys are told one by one. */
  readonly block: readonly [queries: number, keys: 1];
  readonly queries: number;
  readonly keys: number;
  /** Part of all pairs that kernels visit. */
  readonly visited: number;
  /** Runs of a block of queries, ascending, not empty. */
  readonly runsOf: (queryBlock: number) => readonly KeyRun[];

  constructor(
    { queries, keys, block }: {
      readonly queries: number;
      readonly keys: number;
      readonly block: number;
    },
    visited: number,
    runsOf: (queryBlock: number) => readonly KeyRun[],
  ) {
    this.queries = queries;
    this.keys = keys;
    this.block = [block, 1];
    this.visited = visited;
    this.runsOf = runsOf;
  }
}
