/**
 * Tensors that live in linear memory.
 *
 * @module
 */

import type { EngineTensor } from "../backend.ts";
import { sizeOf } from "../tensor.ts";
import type { Arena } from "./arena.ts";

/** A contiguous f32 tensor in an arena. */
export class WasmTensor implements EngineTensor {
  readonly shape: readonly number[];
  readonly dtype = "f32";
  readonly #arena: Arena;
  #at: number | undefined;
  #data: Float32Array;

  constructor(arena: Arena, shape: readonly number[]) {
    this.shape = Object.freeze([...shape]);
    this.#arena = arena;
    this.#at = arena.allocate(sizeOf(shape) * 4);
    this.#data = new Float32Array(arena.memory.buffer, this.#at, sizeOf(shape));
    this.#data.fill(0); // The memory may have been another call's.
  }

  get data(): Float32Array {
    if (this.#at === undefined) {
      throw new TypeError(`Cannot use a tensor of shape [${this.shape}] after \`free()\``);
    }
    if (this.#data.buffer !== this.#arena.memory.buffer) {
      this.#data = new Float32Array(this.#arena.memory.buffer, this.#at, sizeOf(this.shape));
    }
    return this.#data;
  }

  free(): void {
    if (this.#at !== undefined) this.#arena.free(this.#at);
    this.#at = undefined;
  }

  [Symbol.dispose](): void {
    this.free();
  }
}
