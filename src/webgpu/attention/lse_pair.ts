/**
 * `lse` with what rounding took from it: one binding for both, since a stage has no more. They come to
 * the caller's tensors from there.
 *
 * @module
 */

import { copyRowsOut } from "../../tensor/rows.ts";
import { type AnyView, isOnHost, type View } from "../../tensor/tensor.ts";
import { roles } from "../device/buffers.ts";
import type { Loan, Submission } from "../device/submission.ts";
import { type Bound, type Box, count, denseStrides, shapeOf } from "../transfer/box.ts";
import { extent } from "../transfer/regions.ts";
import type { Sink } from "../transfer/sink.ts";

/** The two of a box, one behind the other. */
export class LsePair implements Sink {
  readonly #views: readonly AnyView[];
  readonly #loan: Loan;

  constructor(lse: AnyView, rest: AnyView, loan: Loan) {
    this.#views = [lse, rest];
    this.#loan = loan;
  }

  bytes(box: Box): number {
    return Math.max(16, 8 * count(box));
  }

  async place(box: Box): Promise<Bound> {
    const size = Math.ceil(this.bytes(box) / 16) * 16, restAt = count(box);
    const binding = await this.#loan.room(size, "lse");
    const bound = {
      ...binding,
      at: 0,
      strides: denseStrides(shapeOf(box, 1)),
      restAt,
    };
    if (!isOnHost(this.#views[0])) {
      return { ...bound, copyOut: (submission) => this.#copyOut(submission, box, binding.buffer) };
    }
    return {
      ...bound,
      readBack: await this.#loan.take(size, roles.readBack, "lse on its way back"),
    };
  }

  release(): void {}

  /** Copies them to the caller's buffers. */
  #copyOut(submission: Submission, box: Box, buffer: GPUBuffer): void {
    for (const [plane, { data, offset, strides }] of (this.#views as View<GPUBuffer>[]).entries()) {
      eachHead(box, plane, (at, b, h) => {
        const to = offset + b * strides[0] + h * strides[1] + box.rows[0] * strides[2];
        submission.copy(buffer, at * 4, data, to * 4, extent(box.rows) * 4);
      });
    }
    submission.free(buffer);
  }

  collect(box: Box, bytes: ArrayBuffer): void {
    const mapped = new Float32Array(bytes);
    for (const [plane, view] of (this.#views as View[]).entries()) {
      eachHead(box, plane, (at, b, h) => copyRowsOut(mapped.subarray(at), view, b, h, ...box.rows));
    }
  }
}

/** Every head of a box, and where its rows begin in one of two arrays of it. */
function eachHead(
  box: Box,
  plane: number,
  visit: (at: number, batch: number, head: number) => void,
): void {
  let at = plane * count(box);
  for (let b = box.batch[0]; b < box.batch[1]; b++) {
    for (let h = box.heads[0]; h < box.heads[1]; h++, at += extent(box.rows)) visit(at, b, h);
  }
}
