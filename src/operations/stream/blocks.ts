/**
 * Blocks: rows that were pushed and wait until there are so many that they are attended to.
 *
 * @module
 */

import type { Backend } from "../../contract/backend.ts";
import type { DType, HostData } from "../../tensor/dtype.ts";
import { copyRowsIn } from "../../tensor/rows.ts";
import { type AnyView, type Extents, type View, viewOf } from "../../tensor/tensor.ts";

/** Rows `from` to `to` of all heads. */
export function rowsOf<V extends AnyView>(view: V, from: number, to: number): V {
  const { shape: [batch, heads, , width], offset, strides } = view;
  return { ...view, shape: [batch, heads, to - from, width], offset: offset + from * strides[2] };
}

/** Rows of keys, or of values, in memory of ours. */
export interface Block {
  /** Writes rows from row `at` on. */
  write(rows: AnyView, at: number): void | Promise<void>;
  /** The first so many rows. */
  view(count: number): AnyView;
  free(): void;
}

/** Elements that are ours, contiguous. */
export interface Room {
  readonly view: View;
  free(): void;
}

/** Memory of a backend, where that has arrays: calls read and write them where they are. */
export function roomIn(own: Backend, shape: Extents, dtype: DType): Room {
  if (own.createBuffer === undefined) {
    const tensor = own.tensor(shape, dtype);
    return { view: viewOf(tensor, "bhnd") as View, free: tensor.free };
  }
  const size = shape[0] * shape[1] * shape[2] * shape[3];
  const data: HostData = dtype === "f32" ? new Float32Array(size) : new Uint16Array(size);
  return { view: viewOf({ data, shape, dtype }, "bhnd"), free() {} };
}

/** Rows in arrays, as they are stored. */
export class HostBlock implements Block {
  readonly #room: Room;

  constructor(own: Backend, shape: Extents, dtype: DType) {
    this.#room = roomIn(own, shape, dtype);
  }

  write(rows: View, at: number): void {
    const { data, shape: [batch, heads, , width], strides } = this.#room.view;
    const count = rows.shape[2];
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        const first = b * strides[0] + h * strides[1] + at * width;
        copyRowsIn(rows, b, h, 0, count, data.part(first, first + count * width));
      }
    }
  }

  view(count: number): AnyView {
    return rowsOf(this.#room.view, 0, count);
  }

  free(): void {
    this.#room.free();
  }
}
