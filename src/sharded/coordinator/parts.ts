/**
 * What groups answered becomes the result: parts over disjoint tokens are merged in the order of the groups,
 * whatever the order of arrival, so that the bits are the same each time.
 *
 * @module
 */

import { mergeAttention } from "../../functions/attention.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { PartBody } from "../messages/bodies.ts";
import type { Message } from "../messages/message.ts";
import type { ShardedSizes } from "../sizes.ts";
import type { PlacedCell } from "./batches.ts";
import type { ReadCall } from "./read.ts";

/** Attention to a sharded cache. */
export interface ShardedResult {
  /** `[B, Hq, n, Dv]` in the layout of `q`, f32. Rows that do not count give 0. */
  readonly out: Tensor<Float32Array<ArrayBuffer>>;
  /** `[B, Hq, n]`: natural log-sum-exp of each row's scores. */
  readonly lse: Tensor<Float32Array<ArrayBuffer>>;
}

/** What a group answered, `[B, n, Hq, Dv]` and `[B, Hq, n]`. */
interface Part {
  readonly out: Float32Array<ArrayBuffer>;
  readonly lse: Float32Array<ArrayBuffer>;
}

/** Whether an answer has as many elements as the rows of some cells need. */
export function isPartOf(
  message: Message,
  cells: readonly PlacedCell[],
  queryHeads: number,
  valueDim: number,
): boolean {
  if (message.kind !== "part") return false;
  const rows = cells.reduce((sum, { rows }) => sum + rows, 0) * queryHeads;
  const { out, lse } = message.body;
  return out.dtype === "f32" && lse.dtype === "f32" && out.data.length === rows * valueDim &&
    lse.data.length === rows;
}

/** The parts of a call's result. */
export class Parts {
  readonly #call: ReadCall;
  readonly #sizes: ShardedSizes;
  readonly #parts: readonly Part[];

  constructor(call: ReadCall, sizes: ShardedSizes, groups: number) {
    this.#call = call;
    this.#sizes = sizes;
    const rows = sizes.batch * call.rows * call.queries!.queryHeads;
    this.#parts = Array.from({ length: groups }, () => ({
      out: new Float32Array(rows * sizes.valueDim),
      lse: new Float32Array(rows).fill(-Infinity),
    }));
  }

  /** Takes what a group answered for some cells. */
  take(group: number, cells: readonly PlacedCell[], { out, lse }: PartBody): void {
    const { rows, queries } = this.#call, heads = queries!.queryHeads;
    const width = heads * this.#sizes.valueDim, part = this.#parts[group];
    let first = 0;
    for (const { sequence, row, rows: count } of cells) {
      const from = first * width, to = (sequence * rows + row) * width;
      part.out.set(out.data.subarray(from, from + count * width) as Float32Array, to);
      for (let at = 0; at < count; at++) {
        for (let head = 0; head < heads; head++) {
          part.lse[(sequence * heads + head) * rows + row + at] =
            lse.data[(first + at) * heads + head];
        }
      }
      first += count;
    }
  }

  /** The result. */
  async merge(): Promise<ShardedResult> {
    const { rows, queries, layout } = this.#call, { batch, valueDim } = this.#sizes;
    const heads = queries!.queryHeads, shape = [batch, rows, heads, valueDim];
    const lseShape = [batch, heads, rows], isSwapped = layout === "bhnd";
    const strides = [rows * heads * valueDim, valueDim, heads * valueDim, 1];
    const parts = this.#parts.map(({ out, lse }) => ({
      out: isSwapped
        ? { data: out, shape: [batch, heads, rows, valueDim], strides }
        : { data: out, shape },
      lse: { data: lse, shape: lseShape },
    }));
    return await mergeAttention(parts, { layout }) as ShardedResult;
  }
}
