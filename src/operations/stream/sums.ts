/**
 * Sums over the blocks of a stream, row by row: the running softmax (Milakov and Gimelshein, arXiv
 * 1805.02867, algorithm 3) over results of attention in place of scores.
 *
 * @module
 */

import type { Backend, Machinery } from "../../contract/backend.ts";
import { type AnyView, type Extents, type View, viewOf } from "../../tensor/tensor.ts";
import type { KeptResult } from "../attention/result.ts";
import type { Storage } from "../call.ts";
import type { MergePlan } from "../merge/operation.ts";
import { type Room, roomIn } from "./blocks.ts";

/** What was seen so far. */
export interface Sums {
  /** Where calls write their results, all f32; `null` for tensors of their own. */
  readonly out: AnyView | null;
  /** How what they make is stored. */
  readonly storage: Storage;
  /** Adds what attention to more keys gave. */
  add(machinery: Machinery, result: KeptResult<Float32Array | GPUBuffer>): void | Promise<void>;
  /** What attention to all of the keys gives, still in f32 and in parts. */
  rest(): MergePlan;
  free(): void;
}

/**
 * Sums in double precision, so that errors do not grow with the number of blocks: of a row with the
 * largest log-sum-exp `m` so far, `l = sum exp(lse - m)` and `o = sum exp(lse - m) out`.
 */
export class HostSums implements Sums {
  readonly #room: Room;
  readonly #lse: View;
  readonly #m: Float64Array;
  readonly #l: Float64Array;
  readonly #o: Float64Array;
  readonly storage: Storage;

  constructor(own: Backend, shape: Extents) {
    const rows = shape[0] * shape[1] * shape[2];
    const lse = { data: new Float32Array(rows), shape: [...shape.slice(0, 3), 1] };
    this.#lse = viewOf(lse, "bhnd");
    this.#m = new Float64Array(rows).fill(-Infinity);
    this.#l = new Float64Array(rows);
    this.#o = new Float64Array(rows * shape[3]);
    this.storage = { dtype: "f32", like: this.#lse.data };
    this.#room = roomIn(own, shape, "f32"); // Behind what may throw for want of memory.
  }

  get out(): View {
    return this.#room.view;
  }

  add(_: Machinery, { lse, lseRest }: KeptResult<Float32Array>): void {
    const out = this.out.data.now(), width = this.out.shape[3];
    for (let row = 0; row < this.#m.length; row++) {
      const level = lse.data[row];
      if (level === -Infinity) continue; // It sees nothing.
      const weight = this.#raise(row, level + lseRest.data[row], width);
      const end = (row + 1) * width, sums = this.#o;
      for (let at = row * width; at < end; at++) sums[at] += weight * out[at];
    }
  }

  /** Adds a level to a row's; gives the weight of what has it. */
  #raise(row: number, level: number, width: number): number {
    const before = this.#m[row];
    if (level <= before) {
      const weight = Math.exp(level - before);
      this.#l[row] += weight;
      return weight;
    }
    // Also for what is no number, which spoils the row.
    const kept = Math.exp(before - level);
    this.#l[row] = this.#l[row] * kept + Math.exp(level - level);
    const end = (row + 1) * width, sums = this.#o;
    for (let at = row * width; at < end; at++) sums[at] *= kept;
    this.#m[row] = level;
    return Math.exp(level - level);
  }

  rest(): MergePlan {
    const out = this.out.data.now(), width = this.out.shape[3], lse = this.#lse.data.now();
    for (let row = 0; row < lse.length; row++) {
      const sum = this.#l[row], end = (row + 1) * width;
      lse[row] = this.#m[row] + Math.log(sum);
      for (let at = row * width; at < end; at++) out[at] = sum === 0 ? 0 : this.#o[at] / sum;
    }
    return { parts: [{ out: this.out, lse: this.#lse }] };
  }

  free(): void {
    this.#room.free();
  }
}
