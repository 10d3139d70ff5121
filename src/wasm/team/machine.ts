/**
 * What runs calls: kernels, their memory, and how many threads may take part.
 *
 * @module
 */

import type { BinaryName } from "../../contract/capabilities.ts";
import type { Kernels } from "../binary/kernels.gen.ts";
import type { Arena } from "../memory/arena.ts";
import type { Program } from "./team.ts";

/** What runners work with. */
export interface Machine {
  readonly kernels: Kernels;
  readonly arena: Arena;
  /** Threads that may take part. */
  readonly threads: number;
  /** Which micro-kernels: how many of four elements they splat while loading. */
  readonly splats: 0 | 1 | 4;
  /** The kernels for jobs, and those that were loaded later. */
  readonly programs: Program[];
  /** Which binary it is, where the library chose it. */
  readonly binary?: BinaryName;
}
