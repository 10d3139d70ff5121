/**
 * The control block: what the threads of a team share besides linear memory. 32-bit cells of one
 * SharedArrayBuffer, touched by `Atomics` alone.
 *
 * Jobs are numbered through the life of the team and numbers are only ever raised: `next` is the
 * first that nobody took, `limit` the first that is not there yet, `done` counts those finished.
 * Whoever raises `next` from n to n + 1 has job n. Reading `next` before `limit` makes it impossible
 * to take a job that is not there.
 *
 * A control block ends once, by `endControl()`: `closed` first, then `next` and `limit`, both raised
 * by one. A worker reads `next`, `limit`, `closed`, in this order, and sleeps on `limit`. All accesses
 * are in one order for all threads, so that:
 * - nobody oversleeps the end: a worker that reads `closed` as 0 read `limit` before it was raised,
 *   and `Atomics.wait` with that number returns at once when it has been raised meanwhile;
 * - nobody takes a job after the end: `next` is above every number read before, and who reads the new
 *   `next` or `limit` reads `closed` as 1;
 * - whose state is even once the block has ended never touches linear memory again: a state is odd
 *   before its thread tries to take a job, and no try after the end succeeds.
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
  /** Milliseconds without a job after which workers leave; 0 for never. */
  idle: 11,
  /** Which program runs the batch's jobs. */
  program: 12,
} as const;

/**
 * The first of the cells, one per thread, that hold its state: 0 until it begins; then odd while it
 * has, or tries to take, a job, even in between, and higher with each job; `left` once it has left.
 */
export const firstState = 16;

/** The state of a worker that touches nothing any more. */
export const left = -2;

/** As it was when this was loaded: workers of an engine that was dropped end at whatever moment. */
const Shared = globalThis.SharedArrayBuffer;

/** A new control block for so many threads. */
export function createControl(threads: number): Int32Array {
  return new Int32Array(new Shared((firstState + threads) * 4));
}

/** Ends a control block: every worker leaves it when it has finished its job, and none takes another. */
export function endControl(control: Int32Array): void {
  const end = Atomics.load(control, cells.limit) + 1 | 0;
  Atomics.store(control, cells.closed, 1);
  Atomics.store(control, cells.next, end);
  Atomics.store(control, cells.limit, end);
  Atomics.notify(control, cells.limit);
}
