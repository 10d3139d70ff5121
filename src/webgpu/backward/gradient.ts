/**
 * What a gradient is: by what, which pipeline makes it, and where it goes.
 *
 * @module
 */

import type { Bound, Box } from "../transfer/box.ts";
import type { TensorGoal } from "./variants.ts";

/** What a gradient is by. */
export type Goal = TensorGoal | "dBias" | "dSinks" | "dCaptured";

/** Where a gradient goes. */
export interface Result {
  /** Bytes of the binding of a piece. */
  bytes(boxes: Boxes): number;
  place(boxes: Boxes): Promise<Bound>;
  /** Takes a piece that was read back to the caller. */
  collect(boxes: Boxes, bytes: ArrayBuffer): void;
  /** Brings what all pieces are summed in to the caller. */
  finish?(): Promise<void>;
}

/** A gradient that a call makes. */
export interface Gradient {
  readonly goal: Goal;
  readonly pipeline: GPUComputePipeline;
  readonly result: Result;
  /** First vectors of its columns that dispatches make, one after the other. */
  readonly firstVectors: readonly number[];
  /** Multiply-adds for a row and a key. */
  readonly columns: number;
}

/** The parts of tensors that a piece reads and writes. */
export interface Boxes {
  readonly rows: Box;
  readonly columns: Box;
  readonly scores: Box;
}
