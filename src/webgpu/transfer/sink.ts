/**
 * Sinks: results of shaders. A caller's buffer is written as it is; what is for an array is read back.
 *
 * @module
 */

import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsOut } from "../../tensor/rows.ts";
import { type AnyView, isOnHost, type View } from "../../tensor/tensor.ts";
import { roles } from "../device/buffers.ts";
import type { Loan } from "../device/submission.ts";
import { type Bound, type Box, count, denseStrides, shapeOf } from "./box.ts";
import { extent } from "./regions.ts";
import { BufferSource, type Source } from "./source.ts";
import { paddedColumns } from "./upload.ts";

/** A result. */
export interface Sink extends Source {
  /** Takes a box that was read back to the caller. */
  collect(box: Box, bytes: ArrayBuffer): void;
}

class BufferSink extends BufferSource implements Sink {
  collect(): void {}
}

class ArraySink implements Sink {
  readonly #view: View;
  readonly #loan: Loan;
  readonly #name: string;
  readonly #columns: number;

  constructor(view: View, loan: Loan, name: string, isColumn: boolean) {
    this.#view = view;
    this.#loan = loan;
    this.#name = name;
    this.#columns = isColumn ? 1 : paddedColumns(view);
  }

  bytes(box: Box): number {
    return Math.max(16, count(box) * this.#columns * bytesPerElement(this.#view.dtype));
  }

  async place(box: Box): Promise<Bound> {
    const size = Math.ceil(this.bytes(box) / 16) * 16;
    const binding = await this.#loan.room(size, this.#name);
    const readBack = await this.#loan.take(size, roles.readBack, `${this.#name} on its way back`);
    const strides = denseStrides(shapeOf(box, this.#columns));
    return { ...binding, at: 0, strides, readBack };
  }

  release(): void {}

  collect(box: Box, bytes: ArrayBuffer): void {
    const view = this.#view, columns = this.#columns;
    const rows = view.dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes);
    const height = extent(box.rows);
    let at = 0;
    for (let b = box.batch[0]; b < box.batch[1]; b++) {
      for (let h = box.heads[0]; h < box.heads[1]; h++, at += height * columns) {
        const source = rows.subarray(at, at + height * columns);
        if (columns === view.shape[3]) copyRowsOut(source, view, b, h, ...box.rows);
        else {
          for (let n = 0; n < height; n++) {
            const row = source.subarray(n * columns);
            copyRowsOut(row, view, b, h, box.rows[0] + n, box.rows[0] + n + 1);
          }
        }
      }
    }
  }
}

/** The sink for a tensor: an array or a buffer. A column of its own, as `lse` is, has no vectors. */
export function sinkOf(
  view: AnyView,
  loan: Loan,
  name: string,
  isColumn: boolean = name === "lse",
): Sink {
  return isOnHost(view) ? new ArraySink(view, loan, name, isColumn) : new BufferSink(view, loan);
}
