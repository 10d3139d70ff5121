/**
 * What a rotation is to backends.
 *
 * @module
 */

import type { AnyView } from "../../tensor/tensor.ts";

/** What a backend rotates. */
export interface Rotation {
  readonly views: readonly AnyView[];
  /** `[1 or B][N][pairs][2]`: cosine and sine. */
  readonly table: Float32Array;
  /** Numbers of the table from a batch to the next; 0 where all have the same. */
  readonly batchStride: number;
  readonly pairs: number;
  readonly interleaved: boolean;
}
