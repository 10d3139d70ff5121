/**
 * Masks that are given element by element.
 *
 * @module
 */

import { booleansOf, checkBits } from "../../check/booleans.ts";
import {
  holdArray,
  type Placed,
  readExtentsOf,
  readLayout,
  type Written,
} from "../../check/tensors.ts";
import { kindOf, readOptions } from "../../check/words.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import type { BooleanTensor } from "../../tensor/tensor.ts";
import { type BlockMask, fromRuns } from "../block_mask.ts";
import { cannot } from "../blocks.ts";
import type { Runs } from "../writer.ts";
import { type BlockMaskSize, checkSize, readObject } from "./size.ts";

/** Whether a query sees a key. */
export type Keeps = (b: number, h: number, query: number, key: number) => boolean;

/**
 * Asks a function about every element, `batch * heads * queries * keys` of them.
 *
 * @param keeps Whether query `q` of head `h` of batch `b` sees key `k`; asked in ascending order.
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function fromFunction(
  keeps: Keeps,
  size: Omit<BlockMaskSize, "offset"> | number,
): BlockMask {
  if (typeof keeps !== "function") {
    throw new TypeError(`${cannot}: \`keeps\` must be a function, got ${kindOf(keeps)}`);
  }
  const checked = checkSize(size, ["offset"]);
  return fromRuns(checked, runsWhere(keeps, checked.keys));
}

function runsWhere(keeps: Keeps, keys: number): Runs {
  return (b, h, query, add) => {
    let from = -1;
    for (let key = 0; key < keys; key++) {
      const kept = keeps(b, h, query, key);
      if (kept && from < 0) from = key;
      if (!kept && from >= 0) {
        add(from, key);
        from = -1;
      }
    }
    if (from >= 0) add(from, keys);
  };
}

/**
 * Reads a mask of 0 and 1, as the option `mask` of `attention()` takes it.
 *
 * @param mask `[Nq, Nk]`, `[H, Nq, Nk]` or `[B, H, Nq, Nk]`, any strides; not 0 = sees. A
 * `Uint32Array` holds 32 elements a word, lowest bit first.
 * @param options `block`: queries and keys of a block, 64 by default.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When shape, strides and offset do not fit `data`, or the blocks are too
 * many.
 */
export function fromDense(
  mask: BooleanTensor,
  options: Pick<BlockMaskSize, "block"> = {},
): BlockMask {
  const { data, shape, strides, offset } = readDense(mask);
  const { block } = readOptions(options, ["block"], cannot);
  const missing = 4 - shape.length;
  const [batch, heads, queries, keys] = [...new Array<number>(missing).fill(1), ...shape];
  const [sb, sh, sq, sk] = [...new Array<number>(missing).fill(0), ...strides];
  const size = checkSize({ ...(block !== undefined && { block }), batch, heads, queries, keys });
  data.lent?.check(); // What was read after it may have freed it.
  const elements = data.now(), packed = data.kind === "Uint32Array";
  const keeps: Keeps = (b, h, query, key) => {
    const e = offset + b * sb + h * sh + query * sq + key * sk;
    return (packed ? elements[Math.floor(e / 32)] >> e % 32 & 1 : elements[e]) !== 0;
  };
  return fromRuns(size, runsWhere(keeps, keys));
}

/** A mask by itself, as it was read. */
interface Dense extends Placed {
  readonly data: HeldArray<Uint8Array | Uint32Array>;
}

const denseNames = ["data", "shape", "dtype", "strides", "offset"] as const;

/** Reads a mask by itself. */
function readDense(mask: BooleanTensor): Dense {
  const written = readObject("mask", mask, denseNames) as Written,
    { data: given, dtype } = written,
    stored = booleansOf(given);
  if (stored === undefined) {
    throw new TypeError(
      `${cannot}: \`mask.data\` must be a Uint8Array or Uint32Array, got ${kindOf(given)}`,
    );
  }
  if (dtype !== undefined && dtype !== stored) {
    throw new TypeError(
      `${cannot}: \`mask.dtype\` must be ${stored} for a ${kindOf(given)}, got ${kindOf(dtype)}`,
    );
  }
  const shape = readExtentsOf("mask", written.shape, cannot);
  if (shape.length < 2 || shape.length > 4) {
    throw new RangeError(
      `${cannot}: \`mask\` must have rank 2 [Nq, Nk], 3 [H, Nq, Nk] or 4 [B, H, Nq, Nk], ` +
        `got [${shape}]`,
    );
  }
  const data = holdArray("mask.data", given as Uint8Array | Uint32Array, cannot);
  checkBits("mask", written, shape, data, cannot);
  return { data, ...readLayout("mask", written, shape, data, stored, cannot) };
}
