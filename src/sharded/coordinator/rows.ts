/**
 * Rows of a call as they were read.
 *
 * @module
 */

import type { Block } from "../messages/bytes.ts";

/** A tensor of rows, `[B, n, H, D]` without gaps: nobody else has it. */
export interface ReadRows extends Block {
  readonly heads: number;
  readonly rows: number;
  readonly columns: number;
}
