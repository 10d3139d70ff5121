/**
 * Rows of several sequences, of each a number of its own. What works row by row takes them packed,
 * one sequence after the other, so that nothing is computed in vain; attention takes them padded to
 * the longest, `[B, longest]`.
 *
 * @module
 */

/** How many rows there are of each sequence, and the ways between packed and padded. */
export class Ragged {
  /** Rows of each sequence. */
  readonly counts: readonly number[];
  /** Rows of all sequences. */
  readonly total: number;
  /** Rows of the longest sequence. */
  readonly longest: number;

  /** @param counts Rows of each sequence. */
  constructor(counts: readonly number[]) {
    this.counts = counts;
    this.total = counts.reduce((sum, count) => sum + count, 0);
    this.longest = Math.max(0, ...counts);
  }

  /** Whether packed and padded are the same. */
  get even(): boolean {
    return this.total === this.longest * this.counts.length;
  }

  /** Number of each sequence's first packed row. */
  get begins(): readonly number[] {
    let next = 0;
    return this.counts.map((count) => (next += count) - count);
  }

  /**
   * Pads rows. What stands in the padding is undefined.
   *
   * @param packed The rows, `[total, width]` or longer.
   * @param width Numbers of a row.
   * @returns The rows, `[B, longest, width]` or longer; `packed` itself where it is even.
   */
  pad(packed: Float32Array, width: number): Float32Array {
    if (this.even) return packed;
    const padded = this.empty(width);
    for (const [sequence, begin] of this.begins.entries()) {
      const end = begin + this.counts[sequence];
      padded.set(packed.subarray(begin * width, end * width), sequence * this.longest * width);
    }
    return padded;
  }

  /**
   * Packs padded rows.
   *
   * @param padded The rows, `[B, longest, width]`.
   * @param width Numbers of a row.
   * @param packed Receives them; nothing is done where it is `padded` itself.
   */
  pack(padded: Float32Array, width: number, packed: Float32Array): void {
    if (padded === packed) return;
    for (const [sequence, begin] of this.begins.entries()) {
      const from = sequence * this.longest;
      const rows = padded.subarray(from * width, (from + this.counts[sequence]) * width);
      packed.set(rows, begin * width);
    }
  }

  /** Padded rows of zeros, `[B, longest, width]`. */
  empty(width: number): Float32Array {
    return new Float32Array(this.counts.length * this.longest * width);
  }
}
