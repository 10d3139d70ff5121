/**
 * Block masks: which keys each query sees, block by block.
 *
 * @module
 */

import { kindOf } from "../check/words.ts";
import { kindOfArray } from "../tensor/arrays.ts";
import { sayOf } from "../tensor/inspect.ts";
import {
  type Blocks,
  blocksOf,
  cannot,
  checkWhole,
  eachRow,
  type Grid,
  hasBit,
  heightOf,
  onesOf,
  type PlainBlockMask,
  rowOf,
  runsOf,
  whole,
  widthOf,
} from "./blocks.ts";
import { combine } from "./combine.ts";
import { draw, headOf } from "./draw.ts";
import { rewrite, type Runs, writeRuns } from "./writer.ts";

/** By this, other copies of the library know a mask, and ask for it as plain data. */
const plainOf = Symbol.for("flashtile.BlockMask/1");

/** What makes a mask: nobody else may say what its arrays hold. */
const maker = Symbol();

let blocksIn: (mask: BlockMask) => Blocks;
let isMask: (value: object) => boolean;

/**
 * Which keys each query sees, as blocks: those that a kernel skips, those that it takes whole, and
 * those that it looks at element by element. Made by the functions of `blockMask`, never changed;
 * the arrays are copies of what kernels read.
 *
 * A block is whole when all its elements within the extents are kept, and is not listed when none
 * is. Two masks of the same extents and block size that keep the same have equal arrays.
 *
 * ```ts
 * import { blockMask } from "@flashtile/attention";
 *
 * const size = { queries: 4, block: 2 };
 * const mask = blockMask.causal(size).and(blockMask.window([1, 0], size));
 * console.log(String(mask));
 * // BlockMask [1, 1, 4, 4], blocks of 2 x 2, density 0.438
 * // 1000
 * // 1100
 * // 0110
 * // 0011
 * console.log(mask.keeps(0, 0, 2, 0), [...mask.rowRuns(0, 0, 2)]); // false [[1, 3]]
 * ```
 */
export class BlockMask {
  /** Queries, Nq. */
  readonly queries: number;
  /** Keys, Nk. */
  readonly keys: number;
  /** Batches; 1 is shared by all. */
  readonly batch: number;
  /** Query heads; 1 is shared by all. */
  readonly heads: number;
  /** Extents of a block; the last ones may be cut. */
  readonly block: readonly [queries: number, keys: number];
  /** Blocks along the queries: `ceil(queries / block[0])`. */
  readonly queryBlocks: number;
  /** Blocks along the keys: `ceil(keys / block[1])`. */
  readonly keyBlocks: number;
  readonly #blocks: Blocks;
  /** The same arrays, for whoever asks. */
  #copies: PlainBlockMask | undefined;

  static {
    blocksIn = (mask) => mask.#blocks;
    isMask = (value) => #blocks in value;
    // Set, not defined: some script may have given all objects, and so descriptors, a property `get`.
    (this.prototype as { [plainOf]?: () => PlainBlockMask })[plainOf] = this.prototype.toPlain;
    sayOf(this.prototype, function () {
      return isBlockMask(this) ? headOf(this.#blocks, this.density) : "BlockMask";
    });
  }

  /** For `make()`: the arrays are not checked. */
  constructor(by: typeof maker, blocks: Blocks) {
    if (by !== maker) throw new TypeError(`${cannot}: only \`blockMask\` makes them`);
    this.queries = blocks.queries;
    this.keys = blocks.keys;
    this.batch = blocks.batch;
    this.heads = blocks.heads;
    this.block = blocks.block;
    [this.queryBlocks, this.keyBlocks] = blocksOf(blocks);
    this.#blocks = blocks;
    Object.freeze(this);
  }

  /**
   * Row `r = (b * heads + h) * queryBlocks + queryBlock` has the entries `starts[r]` to
   * `starts[r + 1]` of `columns` and `mixed`.
   */
  get starts(): Uint32Array<ArrayBuffer> {
    return this.#copied.starts;
  }

  /** Key block of each entry, ascending within a row. */
  get columns(): Uint32Array<ArrayBuffer> {
    return this.#copied.columns;
  }

  /** Of each entry: -1 for a whole block, else the number of its bits, which count up from 0. */
  get mixed(): Int32Array<ArrayBuffer> {
    return this.#copied.mixed;
  }

  /**
   * The mixed blocks one after the other, each `block[0]` rows of `ceil(block[1] / 8)` bytes: bit
   * `c & 7` of byte `c >> 3` says whether the row's query sees key `c` of the block. 0 past the
   * extents.
   */
  get bits(): Uint8Array<ArrayBuffer> {
    return this.#copied.bits;
  }

  get #copied(): PlainBlockMask {
    return this.#copies ??= this.toPlain();
  }

  /** Part of all elements that is kept; 0 where there are none. Counts the bits at every call. */
  get density(): number {
    const blocks = this.#blocks, { starts, columns, mixed, bits } = blocks;
    let kept = 0;
    for (const byte of bits) kept += onesOf(byte);
    eachRow(blocks, (b, h, queryBlock) => {
      const row = rowOf(blocks, b, h, queryBlock), rows = heightOf(blocks, queryBlock);
      for (let e = starts[row]; e < starts[row + 1]; e++) {
        if (mixed[e] === whole) kept += rows * widthOf(blocks, columns[e]);
      }
    });
    return kept / (this.batch * this.heads * this.queries * this.keys || 1);
  }

  /** Part of all blocks that a kernel visits; 0 where there are none. */
  get visited(): number {
    return this.#blocks.columns.length /
      (this.batch * this.heads * this.queryBlocks * this.keyBlocks || 1);
  }

  /**
   * Whether a query sees a key.
   *
   * @param b Batch; any where the mask has one.
   * @param h Query head; any where the mask has one.
   * @param query From 0 to `queries - 1`.
   * @param key From 0 to `keys - 1`.
   * @throws {RangeError} When the mask has no such element.
   */
  keeps(b: number, h: number, query: number, key: number): boolean {
    checkIndex("key", key, this.keys);
    const { starts, columns, mixed } = this.#blocks, row = this.#rowOfQuery(b, h, query);
    const column = Math.floor(key / this.block[1]);
    let low = starts[row], high = starts[row + 1];
    while (low < high) {
      const middle = low + high >>> 1;
      if (columns[middle] < column) low = middle + 1;
      else high = middle;
    }
    if (low === starts[row + 1] || columns[low] !== column) return false;
    return mixed[low] === whole || hasBit(this.#blocks, mixed[low], query, key);
  }

  /**
   * The keys that a query sees, as the longest runs `[from, to)`, ascending.
   *
   * @param b Batch; any where the mask has one.
   * @param h Query head; any where the mask has one.
   * @param query From 0 to `queries - 1`.
   * @throws {RangeError} When the mask has no such row.
   */
  rowRuns(b: number, h: number, query: number): Iterable<[from: number, to: number]> {
    return runsOf(this.#blocks, this.#rowOfQuery(b, h, query), query);
  }

  #rowOfQuery(b: number, h: number, query: number): number {
    checkIndex("b", b, this.batch === 1 ? Infinity : this.batch);
    checkIndex("h", h, this.heads === 1 ? Infinity : this.heads);
    checkIndex("query", query, this.queries);
    return rowOf(this.#blocks, b, h, Math.floor(query / this.block[0]));
  }

  /**
   * Keeps what both keep. A mask with one batch or head counts for all of the other's. The result
   * has the block size of the first.
   *
   * @param other A mask of the same extents.
   * @throws {TypeError} When `other` is no block mask.
   * @throws {RangeError} When extents, batches or heads do not fit.
   */
  and(other: BlockMask): BlockMask {
    return this.#with(other, (x, y) => x & y);
  }

  /**
   * Keeps what either keeps; otherwise as `and()`.
   *
   * @param other A mask of the same extents.
   * @throws {TypeError} When `other` is no block mask.
   * @throws {RangeError} When extents, batches or heads do not fit.
   */
  or(other: BlockMask): BlockMask {
    return this.#with(other, (x, y) => x | y);
  }

  /**
   * Keeps what this one does not.
   *
   * @throws {RangeError} When the blocks are too many.
   */
  not(): BlockMask {
    return this.#with(this, (x) => ~x & 255);
  }

  #with(other: BlockMask, op: (x: number, y: number) => number): BlockMask {
    const mask = maskOf(other);
    if (mask !== undefined) return make(combine(this.#blocks, mask.#blocks, op));
    throw new TypeError(
      `Cannot combine block masks: the other must be a BlockMask, got ${kindOf(other)}`,
    );
  }

  /**
   * The mask as plain data: for `postMessage()`, `structuredClone()`, a file. `blockMask.fromPlain()` reads
   * it.
   *
   * @returns Copies of all arrays.
   */
  toPlain(): PlainBlockMask {
    const { queries, keys, batch, heads, block: [height, width] } = this;
    const { starts, columns, mixed, bits } = this.#blocks;
    return {
      ...{ queries, keys, batch, heads, block: [height, width] },
      ...{ starts: new Uint32Array(starts), columns: new Uint32Array(columns) },
      ...{ mixed: new Int32Array(mixed), bits: new Uint8Array(bits) },
    };
  }

  /**
   * A picture. Extents up to 32 x 32 are drawn element by element, 1 = kept; larger ones with a
   * character per block: `#` whole, `+` mixed, `.` skipped. Past 64 x 64 blocks a character stands
   * for as many as the first line says, `#` and `.` where all of them are alike. Of more than eight
   * batches and heads the first eight are drawn.
   */
  toString(): string {
    return draw(this.#blocks, this.density);
  }
}

/** The mask of some blocks, which nobody else has. */
export function make(blocks: Blocks): BlockMask {
  return new BlockMask(maker, blocks);
}

/** The mask that keeps these runs. */
export function fromRuns(grid: Grid, runs: Runs): BlockMask {
  return make(writeRuns(grid, runs));
}

/** Whether a value is a mask, and not only of its prototype. */
export function isBlockMask(value: unknown): value is BlockMask {
  return typeof value === "object" && value !== null && isMask(value);
}

/** The mask that a value is, or that one of another copy of the library stands for. */
export function maskOf(value: unknown): BlockMask | undefined {
  if (isBlockMask(value)) return value;
  if (value instanceof BlockMask) return undefined; // Only of its prototype.
  const give = (Object(value) as { [plainOf]?: () => PlainBlockMask })[plainOf];
  return typeof give === "function" ? fromPlain(give.call(value)) : undefined;
}

/** The arrays of a mask themselves: not to be written to. */
export function arraysOf(mask: BlockMask): Blocks {
  return blocksIn(mask);
}

function checkIndex(name: string, index: number, extent: number): void {
  if (Number.isSafeInteger(index) && index >= 0 && index < extent) return;
  throw new RangeError(
    `Cannot read a block mask: \`${name}\` must be a whole number >= 0` +
      (extent < Infinity ? ` and < ${extent}` : "") + `, got ${kindOf(index)}`,
  );
}

/**
 * The mask that `toPlain()` gave.
 *
 * ```ts
 * import { blockMask } from "@flashtile/attention";
 *
 * const mask = blockMask.causal({ queries: 512, block: 64 });
 * const copy = blockMask.fromPlain(structuredClone(mask.toPlain()));
 * console.log(String(copy) === String(mask)); // true
 * ```
 *
 * @param plain What it gave, or a clone of it. Everything is checked and copied.
 * @throws {TypeError} When something is of a wrong kind.
 * @throws {RangeError} When the arrays do not make a mask of these extents.
 */
export function fromPlain(plain: PlainBlockMask): BlockMask {
  const { queries, keys, batch, heads, block, starts, columns, mixed, bits } = Object(
    plain,
  ) as PlainBlockMask;
  const [height, width] = Array.isArray(block) ? [block[0], block[1]] : [];
  checkWhole("queries", queries);
  checkWhole("keys", keys);
  checkWhole("batch", batch);
  checkWhole("heads", heads);
  checkWhole("block[0]", height, 1);
  checkWhole("block[1]", width, 1);
  return make(rewrite({
    ...{ queries, keys, batch, heads, block: [height, width] },
    starts: new Uint32Array(plainArray("starts", starts, "Uint32Array")),
    columns: new Uint32Array(plainArray("columns", columns, "Uint32Array")),
    mixed: new Int32Array(plainArray("mixed", mixed, "Int32Array")),
    bits: new Uint8Array(plainArray("bits", bits, "Uint8Array")),
  }));
}

/** An array of a kind, of whatever realm. */
function plainArray<A>(name: string, value: A, kind: string): A {
  if (kindOfArray(value) === kind) return value;
  throw new TypeError(`${cannot}: \`${name}\` must be a ${kind}, got ${kindOf(value)}`);
}
