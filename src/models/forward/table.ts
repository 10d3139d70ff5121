/**
 * Rows of tokens: brought from the bytes of their file, of which nothing else is read.
 *
 * @module
 */

import type { Engine } from "../../engine/engine.ts";
import { embeddingSync } from "../../nn/embedding.ts";
import type { HostData } from "../../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../../tensor/tensor.ts";
import type { StoredTensor } from "../files/weights.ts";
import { widened } from "../files/widen.ts";

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
  write(ids: Int32Array, out: AnyTensor, engine: Engine): void {
    const options = { engine, out, scale: this.#scale };
    if (this.#stored.dtype !== "q8_0" && this.#stored.dtype !== "q4_0") {
      embeddingSync(ids, this.#stored as Tensor<HostData>, options);
      return;
    }
    const each = Int32Array.from(ids, (_, at) => at);
    embeddingSync(each, this.#rowsInBlocks(ids), options);
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
