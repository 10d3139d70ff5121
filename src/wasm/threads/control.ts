/**
 * The control block: what the threads of a team share beside linear memory. 32-bit cells of one
 * SharedArrayBuffer, touched by `Atomics` alone.
 *
 * Jobs are numbered through the life of the team and numbers are only ever raised: `next` is the
 * first that nobody took, `limit` the first that is not there yet, `done` counts those finished.
 * Whoever raises `next` from n to n + 1 has job n. Reading `next` before `limit` makes it impossible
 * to take a job that is not there.
 *
 * @module
 */

/** Cells by name. */
export const cells = {
  next: 0,
  limit: 1,
  done: 2,
  /** Jobs that threw. */
  failed: 3,
  /** 1 once the team is closed. */
  closed: 4,
  /** Number of the batch's first job, whose record is at `records`. */
  first: 5,
  records: 6,
  scratch: 7,
  scratchStride: 8,
  /** Workers that have begun. */
  started: 9,
  /** Pages that the memory has. */
  pages: 10,
} as const;

/** The first of the cells, one per thread, that are 1 while it has a job. */
export const firstHolding = 16;

/** A new control block for so many threads. */
export function createControl(threads: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer((firstHolding + threads) * 4));
}
