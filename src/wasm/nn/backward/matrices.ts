/**
 * Matrices of f32 that a backward pass has in linear memory until it ends, and how parts of others come there.
 *
 * @module
 */

import { layoutOf, type PackedWeight } from "../../../operations/nn/packed.ts";
import { HeldArray } from "../../../tensor/arrays.ts";
import { copyRowsIn } from "../../../tensor/rows.ts";
import type { View } from "../../../tensor/tensor.ts";
import type { Arena } from "../../memory/arena.ts";
import { locate } from "../../memory/tensor.ts";

/** The same elements, rows as columns. */
export function turned(view: View): View {
  const { shape: [b, h, rows, columns], strides: [batch, head, row, column] } = view;
  return { ...view, shape: [b, h, columns, rows], strides: [batch, head, column, row] };
}

/** Some rows of a matrix. */
export function rowsOf(view: View, from: number, to: number): View {
  const { offset, shape: [b, h, , columns], strides } = view;
  return { ...view, offset: offset + from * strides[2], shape: [b, h, to - from, columns] };
}

/** Those that a pass has. */
export class Matrices {
  readonly #arena: Arena;
  readonly #taken: number[] = [];

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** Takes memory for one, whose numbers are any. */
  take(rows: number, columns: number): View {
    return {
      ...{ data: this.#takeFloats(rows * columns), dtype: "f32", offset: 0 },
      ...{ shape: [1, 1, rows, columns], strides: [0, 0, columns, 1] },
    };
  }

  /** Takes memory for a packed weight. */
  takePacked(inputs: number, outputs: number): PackedWeight {
    const layout = layoutOf("f32", inputs, outputs);
    return { ...layout, data: this.#takeFloats(layout.bytes / 4) };
  }

  #takeFloats(count: number): HeldArray<Float32Array> {
    const at = this.#arena.allocate(count * 4);
    this.#taken.push(at);
    return new HeldArray<Float32Array>(new Float32Array(this.#arena.memory.buffer, at, count));
  }

  /** Rows of a matrix in linear memory: where they are, or brought to those of another. */
  bring(view: View, from: number, to: number, place: View): View {
    if (this.isHere(view)) return rowsOf(view, from, to);
    const own = rowsOf(place, 0, to - from), columns = view.shape[3];
    copyRowsIn(
      view,
      0,
      0,
      from,
      to,
      (own.data as HeldArray<Float32Array>).part(0, (to - from) * columns),
    );
    return own;
  }

  /** Whether a matrix is in linear memory. */
  isHere(view: View): boolean {
    return locate(view, this.#arena) !== undefined;
  }

  /** Gives one back. */
  give({ data }: { readonly data: { readonly byteOffset: number } }): void {
    const index = this.#taken.indexOf(data.byteOffset);
    if (index < 0) return;
    this.#taken.splice(index, 1);
    this.#arena.free(data.byteOffset);
  }

  /** Gives all back. */
  free(): void {
    for (const at of this.#taken.splice(0)) this.#arena.free(at);
  }
}
