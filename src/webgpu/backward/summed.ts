/**
 * Sums: a gradient that pieces of a call add to, one after the other, where it is on the GPU.
 *
 * @module
 */

import { HeldArray } from "../../tensor/arrays.ts";
import type { BroadcastView } from "../../tensor/tensor.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { roles } from "../device/buffers.ts";
import { type Loan, Submission } from "../device/submission.ts";
import { type Bound, boundOf, type Box, type Buffered } from "../transfer/box.ts";

/** How the elements of a gradient with respect to sinks are those of scores. */
export function sinkView(data: Float32Array | GPUBuffer, heads: number): BroadcastView {
  const held = isGpuBuffer(data) ? data : new HeldArray<Float32Array>(data);
  return { data: held, dtype: "f32", shape: [1, heads, 1, 1], strides: [0, 1, 0, 0], offset: 0 };
}

/** Parts of the scores. */
interface Boxes {
  readonly scores: Box;
}

/** A caller's buffer as it is; or one for a caller's array, brought to it at the end. */
export class Summed {
  readonly #view: Buffered;
  readonly #array: HeldArray<Float32Array> | null;
  readonly #loan: Loan;

  constructor(
    view: Buffered,
    array: HeldArray<Float32Array> | null,
    loan: Loan,
  ) {
    this.#view = view;
    this.#array = array;
    this.#loan = loan;
  }

  bytes(boxes: Boxes): number {
    return this.#boundOf(boxes).size;
  }

  place(boxes: Boxes): Promise<Bound> {
    return Promise.resolve(this.#boundOf(boxes));
  }

  collect(): void {}

  /** Brings all of it to the caller's array. */
  async finish(): Promise<void> {
    const array = this.#array, buffer = this.#view.data;
    if (array === null || array.length === 0) return;
    const size = array.byteLength;
    const readBack = await this.#loan.take(size, roles.readBack, "a gradient on its way back");
    const submission = new Submission(this.#loan.session, "gradients");
    submission.copyBack(
      { buffer, offset: 0, size, readBack },
      (bytes) => array.now().set(new Float32Array(bytes)),
    );
    await submission.submit(this.#loan, "Cannot differentiate");
  }

  #boundOf({ scores }: Boxes): Bound {
    return boundOf(this.#view, scores, this.#loan.session.alignment);
  }
}

/** A gradient by where it is; zeros at first. */
export async function summedOf(
  view: BroadcastView,
  loan: Loan,
  name: string,
): Promise<Summed> {
  const { data } = view;
  if (isGpuBuffer(data)) return new Summed({ ...view, data }, null, loan);
  const buffer = await loan.take(Math.max(16, data.byteLength), roles.storage, name);
  const submission = new Submission(loan.session, name);
  submission.clear(buffer); // What one of the pool holds is undefined.
  loan.attempt(() => submission.flush());
  return new Summed({ ...view, data: buffer }, data, loan);
}
