/**
 * Operations: what backends can be asked to do. Each is a token, by which a backend finds who does it, so
 * that another one opens neither the backends nor the engine.
 *
 * @module
 */

import type { HeldArray } from "../tensor/arrays.ts";

/** Operations that are loaded together: on rows by themselves; in linear time; the layers between attention calls. */
export type LateName = "rows" | "linear" | "nn";

/** What a call reads, or a tensor of the caller's that it writes. */
export interface Used {
  readonly data: HeldArray | GPUBuffer;
}

/** An operation on plans of one kind, whose results go to targets of one kind. */
export interface Operation<Plan, Target> {
  /** The public function. */
  readonly name: string;
  /** What its messages begin with. */
  readonly cannot: string;
  /** All that a plan reads, and what is the caller's of what it writes; `null` for what it has not. */
  inputs(plan: Plan): Readonly<Record<string, Used | null>>;
  /** Multiply-adds of a plan; 0 for what is never worth the way to a GPU. */
  work(plan: Plan): number;
  /** Rows of a plan: what progress is counted in. */
  rows(plan: Plan): number;
  /** Of what not every program needs: with which others it is loaded who does it. */
  readonly late?: LateName;
  /** Where it is a part of a function that is loaded by itself: its name in messages, and what `warmup()` is told to load it. */
  readonly part?: readonly [name: string, warmup: string];
  /** Only says of what kind targets are. */
  readonly target?: (target: Target) => void;
}
