/**
 * Rotations of a pass: angles are worked out once for all layers that turn alike.
 *
 * @module
 */

import type { Backend } from "../../contract/backend.ts";
import { runSync } from "../../operations/call.ts";
import { rope as operation } from "../../operations/rope/operation.ts";
import { readRope, type RopeOptions } from "../../operations/rope/options.ts";
import { planRotation } from "../../operations/rope/plan.ts";
import type { Rotation } from "../../operations/rope/rotation.ts";
import { type NumberList, type Tensor, viewOf } from "../../tensor/tensor.ts";

/** Rows `[B, N, H, D]` of a pass are turned by their positions. */
export class Rotations {
  readonly #backend: Backend;
  readonly #positions: NumberList;
  readonly #known = new Map<RopeOptions, Rotation>();

  /** @param positions Of each row, `[B, N]`. */
  constructor(backend: Backend, positions: NumberList) {
    this.#backend = backend;
    this.#positions = positions;
  }

  /** Turns rows in place: queries and keys at once, which lie side by side. */
  turn(rows: Tensor, rope: RopeOptions): void {
    let rotation = this.#known.get(rope);
    if (rotation === undefined) {
      const asked = { ...rope, positions: this.#positions, layout: "bnhd" } as const;
      this.#known.set(rope, rotation = planRotation(readRope(rows, null, asked)));
    } else rotation = { ...rotation, views: [viewOf(rows, "bnhd")] };
    runSync(this.#backend, {
      ...{ operation, plan: rotation, control: {}, results: {} },
      target: () => null,
      finish: () => {},
    });
  }
}
