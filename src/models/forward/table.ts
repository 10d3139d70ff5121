/**
 * Rows of tokens: brought from the bytes of their file, of which nothing else is read.
 *
 * @module
 */

import type { HostData } from "../../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../../tensor/tensor.ts";
import type { StoredTensor } from "../files/weights.ts";
import { widened } from "../files/widen.ts";
import type { Calls } from "./calls.ts";
import { copyRows, rowsOfTable } from "./layers.ts";
import type { Waiting } from "./steps.ts";

/** A table of tokens. */
export class TokenTable {
  readonly #stored: StoredTensor;
  readonly #scale: number;

  /** @param scale Rows are multiplied by this. */
  constructor(stored: StoredTensor, scale: number) {
    this.#stored = stored;
    this.#scale = scale;
  }

  /** Writes the rows of tokens. */
  write(calls: Calls, ids: Int32Array, out: AnyTensor): Waiting {
    if (this.#stored.dtype !== "q8_0" && this.#stored.dtype !== "q4_0") {
      return rowsOfTable(calls, ids, this.#stored as Tensor<HostData>, out, this.#scale);
    }
    return copyRows(calls, this.#rowsInBlocks(ids), out, this.#scale);
  }

  /** Rows of a table that is in blocks, which are widened. */
  #rowsInBlocks(ids: Int32Array): Tensor<Float32Array> {
    const { data, shape: [rows, width], dtype } = this.#stored, bytes = data.length / rows;
    const wanted = new Uint8Array(ids.length * bytes);
    ids.forEach((id, at) => {
      wanted.set(data.subarray(id * bytes, (id + 1) * bytes) as Uint8Array, at * bytes);
    });
    const shape = [ids.length, width];
    return { data: widened({ data: wanted, shape, dtype }), shape };
  }
}
