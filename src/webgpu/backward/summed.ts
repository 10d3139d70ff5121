/**
 * Sums: a gradient that pieces of a call add to, one after the other, where it is on the GPU.
 *
 * @module
 */

import { HeldArray } from "../../tensor/arrays.ts";
import type { BroadcastView } from "../../tensor/broadcast.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { roles } from "../device/buffers.ts";
import type { Session } from "../device/session.ts";
import { type Loan, Submission } from "../device/submission.ts";
import { broadcastWindow, type BufferBroadcast, type ScoreBox } from "../transfer/broadcasts.ts";
import type { Window } from "../transfer/transfer.ts";

/** How the elements of a gradient by sinks are those of scores. */
export function sinkView(data: Float32Array | GPUBuffer, heads: number): BroadcastView {
  const held = isGpuBuffer(data) ? data : new HeldArray<Float32Array>(data);
  return { data: held, dtype: "f32", shape: [1, heads, 1, 1], strides: [0, 1, 0, 0], offset: 0 };
}

/** Parts of the scores. */
interface Boxes {
  readonly scores: ScoreBox;
}

/** A caller's buffer as it is; or one for a caller's array, brought to it at the end. */
export class Summed {
  readonly #view: BufferBroadcast;
  readonly #array: HeldArray<Float32Array> | null;
  readonly #session: Session;
  readonly #loan: Loan;

  constructor(
    view: BufferBroadcast,
    array: HeldArray<Float32Array> | null,
    session: Session,
    loan: Loan,
  ) {
    this.#view = view;
    this.#array = array;
    this.#session = session;
    this.#loan = loan;
  }

  bytes(boxes: Boxes): number {
    return this.#windowOf(boxes).size;
  }

  place(boxes: Boxes): Promise<Window> {
    return Promise.resolve(this.#windowOf(boxes));
  }

  collect(): void {}

  /** Brings all of it to the caller's array. */
  async finish(): Promise<void> {
    const array = this.#array, buffer = this.#view.data;
    if (array === null || array.length === 0) return;
    const size = array.byteLength;
    const readBack = await this.#loan.take(size, roles.readBack, "a gradient on its way back");
    const submission = new Submission(this.#session, "gradients");
    submission.copyBack(
      { buffer, offset: 0, size, readBack },
      (bytes) => array.now().set(new Float32Array(bytes)),
    );
    await submission.submit(this.#loan, "Cannot differentiate");
  }

  #windowOf({ scores }: Boxes): Window {
    const { minStorageBufferOffsetAlignment } = this.#session.gpu.device.limits;
    return broadcastWindow(this.#view, scores, minStorageBufferOffsetAlignment);
  }
}

/** A gradient by where it is; zeros at first. */
export async function summedOf(
  view: BroadcastView,
  session: Session,
  loan: Loan,
  name: string,
): Promise<Summed> {
  const { data } = view;
  if (isGpuBuffer(data)) return new Summed({ ...view, data }, null, session, loan);
  const buffer = await loan.take(Math.max(16, data.byteLength), roles.storage, name);
  const submission = new Submission(session, name);
  submission.clear(buffer); // What one of the pool holds is undefined.
  loan.attempt(() => submission.flush());
  return new Summed({ ...view, data: buffer }, data, session, loan);
}
