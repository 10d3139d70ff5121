/**
 * Rotations of a pass: angles are worked out once for all layers that turn alike.
 *
 * @module
 */

import { rope as operation } from "../../operations/rope/operation.ts";
import { readRope, type RopeOptions } from "../../operations/rope/options.ts";
import { planRotation } from "../../operations/rope/plan.ts";
import type { Rotation } from "../../operations/rope/rotation.ts";
import { type AnyTensor, type NumberList, viewOf } from "../../tensor/tensor.ts";
import type { Calls } from "./calls.ts";
import type { Waiting } from "./steps.ts";

/** Rows `[B, N, H, D]` of a pass are turned by their positions. */
export class Rotations {
  readonly #calls: Calls;
  readonly #positions: NumberList;
  readonly #known = new Map<RopeOptions, Rotation>();

  /** @param positions Of each row, `[B, N]`. */
  constructor(calls: Calls, positions: NumberList) {
    this.#calls = calls;
    this.#positions = positions;
  }

  /** Turns rows in place: queries and keys at once, which lie side by side. */
  turn(rows: AnyTensor, rope: RopeOptions): Waiting {
    let rotation = this.#known.get(rope);
    if (rotation === undefined) {
      const asked = { ...rope, positions: this.#positions, layout: "bnhd" } as const;
      this.#known.set(rope, rotation = planRotation(readRope(rows, null, asked)));
    } else rotation = { ...rotation, views: [viewOf(rows, "bnhd")] };
    return this.#calls.run({
      ...{ operation, plan: rotation, control: {}, results: {} },
      target: () => null,
      finish: () => {},
    });
  }
}
