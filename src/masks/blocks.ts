/**
 * A block mask's data, and how it is read: compressed sparse rows of blocks, and a bit for each element of
 * those that are mixed. In four lines, whether query `q` of a row sees key `k`:
 *
 * ```text
 * entry = the one of starts[row] .. starts[row + 1] whose columns[entry] is floor(k / block[1])
 * none: no. mixed[entry] = -1: yes. Else bit k % block[1] of the row of bits
 * mixed[entry] * block[0] + q % block[0], which has ceil(block[1] / 8) bytes, the lowest bit first
 * row = (b * heads + h) * queryBlocks + floor(q / block[0]), with b = 0 where batch is 1, h likewise
 * ```
 *
 * @module
 */

import { isWhole, kindOf } from "../check/words.ts";

/** What the messages of everything that makes a mask begin with. */
export const cannot = "Cannot make a block mask";

/** Extents of a mask, and of its blocks. */
export interface Grid {
  readonly queries: number;
  readonly keys: number;
  readonly batch: number;
  readonly heads: number;
  readonly block: readonly [queries: number, keys: number];
}

/** Checks a whole number from `least` to `most`. */
export function checkWhole(
  name: string,
  value: unknown,
  least = 0,
  most = Infinity,
): asserts value is number {
  if (isWhole(value) && value >= least && value <= most) return;
  const Kind = typeof value === "number" ? RangeError : TypeError;
  const bounds = most < Infinity
    ? ` from ${least} to ${most}`
    : least > -Infinity
    ? ` >= ${least}`
    : "";
  throw new Kind(`${cannot}: \`${name}\` must be a whole number${bounds}, got ${kindOf(value)}`);
}

/**
 * A mask as plain data, which `structuredClone()` and `postMessage()` take: what `toPlain()` gives and
 * `blockMask.fromPlain()` reads. The arrays are as those of {@linkcode BlockMask}.
 */
export interface PlainBlockMask {
  /** Queries, Nq. */
  readonly queries: number;
  /** Keys, Nk. */
  readonly keys: number;
  /** Batches; 1 is shared by all. */
  readonly batch: number;
  /** Query heads; 1 is shared by all. */
  readonly heads: number;
  /** Extents of a block. */
  readonly block: readonly [queries: number, keys: number];
  /** Where each row of blocks begins in the next two, and where the last ends. */
  readonly starts: Uint32Array<ArrayBuffer>;
  /** Key block of each entry. */
  readonly columns: Uint32Array<ArrayBuffer>;
  /** Of each entry: -1 for a whole block, else the number of its bits. */
  readonly mixed: Int32Array<ArrayBuffer>;
  /** The mixed blocks' bits. */
  readonly bits: Uint8Array<ArrayBuffer>;
}

/** The same where nobody writes to it: what all that reads a mask sees of it. */
export type Blocks = PlainBlockMask;

/** What `mixed` says of a block whose every element is kept, and what stands for one with none. */
export const whole = -1, skipped = -2;

/** Blocks along the queries and along the keys. */
export function blocksOf({ queries, keys, block }: Grid): [queryBlocks: number, keyBlocks: number] {
  return [Math.ceil(queries / block[0]), Math.ceil(keys / block[1])];
}

/** Queries of a query block that are within the extents. */
export function heightOf({ queries, block }: Grid, queryBlock: number): number {
  return Math.min(block[0], queries - queryBlock * block[0]);
}

/** Keys of a key block that are within the extents. */
export function widthOf({ keys, block }: Grid, column: number): number {
  return Math.min(block[1], keys - column * block[1]);
}

/** Row of blocks in `starts`; a mask with one batch or head has it for all. */
export function rowOf(mask: Blocks, b: number, h: number, queryBlock: number): number {
  const { batch, heads } = mask, [queryBlocks] = blocksOf(mask);
  return ((batch === 1 ? 0 : b) * heads + (heads === 1 ? 0 : h)) * queryBlocks + queryBlock;
}

/** Calls `act` for every row of blocks, in the order of `starts`. */
export function eachRow(grid: Grid, act: (b: number, h: number, queryBlock: number) => void): void {
  const [queryBlocks] = blocksOf(grid);
  for (let b = 0; b < grid.batch; b++) {
    for (let h = 0; h < grid.heads; h++) {
      for (let queryBlock = 0; queryBlock < queryBlocks; queryBlock++) act(b, h, queryBlock);
    }
  }
}

/** Bytes of one row of a mixed block. */
export function rowBytes({ block }: Grid): number {
  return Math.ceil(block[1] / 8);
}

/** Bits of a byte that are 1. */
export function onesOf(byte: number): number {
  byte -= byte >> 1 & 0x55;
  byte = (byte & 0x33) + (byte >> 2 & 0x33);
  return byte + (byte >> 4) & 15;
}

/** Whether a mixed block, by the number of its bits, keeps an element of the mask. */
export function hasBit(mask: Blocks, tile: number, query: number, key: number): boolean {
  const [height, width] = mask.block;
  const row = tile * height + query % height, bit = key % width;
  return (mask.bits[row * rowBytes(mask) + (bit >> 3)] >> (bit & 7) & 1) === 1;
}

/** The keys that a query of a row of blocks sees, as the longest runs. */
export function* runsOf(mask: Blocks, row: number, query: number): Generator<[number, number]> {
  const { block, columns, mixed, starts } = mask;
  let from = -1, to = -1;
  for (let e = starts[row]; e < starts[row + 1]; e++) {
    const first = columns[e] * block[1], last = first + widthOf(mask, columns[e]);
    const step = mixed[e] === whole ? last - first : 1;
    for (let key = first; key < last; key += step) {
      if (step === 1 && mixed[e] !== whole && !hasBit(mask, mixed[e], query, key)) continue;
      if (key !== to) {
        if (from < to) yield [from, to];
        from = key;
      }
      to = key + step;
    }
  }
  if (from < to) yield [from, to];
}
