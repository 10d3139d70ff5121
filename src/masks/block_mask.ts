/**
 * Block masks: which keys each query sees, block by block, in compressed sparse rows.
 *
 * @module
 */

import { isWhole, kindOf } from "../check/words.ts";
import { kindOfArray } from "../tensor/arrays.ts";

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

/** The arrays of a mask. */
export type Blocks = Pick<BlockMask, "starts" | "columns" | "mixed" | "bits">;

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

/** By this, other copies of the library know a mask, and ask for it as plain data. */
const plainOf = Symbol.for("flashtile.BlockMask/1");

/** What makes a mask: nobody else may say what its arrays hold. */
const maker = Symbol();

let blocksIn: (mask: BlockMask) => Blocks;
let isMask: (value: object) => boolean;

/** What `mixed` says of a block whose every element is kept, and what stands for one with none. */
const whole = -1, skipped = -2;

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
  /** The same, for whoever asks. */
  #copies: Blocks | undefined;

  static {
    blocksIn = (mask) => mask.#blocks;
    isMask = (value) => #blocks in value;
    // Set, not defined: some script may have given all objects, and so descriptors, a property `get`.
    (this.prototype as { [plainOf]?: () => PlainBlockMask })[plainOf] = this.prototype.toPlain;
  }

  /** For `BlockWriter`: the arrays are not checked. */
  constructor(by: typeof maker, grid: Grid, blocks: Blocks) {
    if (by !== maker) throw new TypeError(`${cannot}: only \`blockMask\` makes them`);
    this.queries = grid.queries;
    this.keys = grid.keys;
    this.batch = grid.batch;
    this.heads = grid.heads;
    this.block = grid.block;
    [this.queryBlocks, this.keyBlocks] = blocksOf(grid);
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

  get #copied(): Blocks {
    const { starts, columns, mixed, bits } = this.#blocks;
    return this.#copies ??= {
      ...{ starts: starts.slice(), columns: columns.slice(), mixed: mixed.slice() },
      bits: bits.slice(),
    };
  }

  /** Part of all elements that is kept; 0 where there are none. Counts the bits at every call. */
  get density(): number {
    const { starts, columns, mixed, bits } = this.#blocks;
    let kept = 0;
    for (const byte of bits) kept += onesOf(byte);
    eachRow(this, (b, h, queryBlock) => {
      const row = rowOf(this, b, h, queryBlock), rows = heightOf(this, queryBlock);
      for (let e = starts[row]; e < starts[row + 1]; e++) {
        if (mixed[e] === whole) kept += rows * widthOf(this, columns[e]);
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
    return mixed[low] === whole || hasBit(this, mixed[low], query, key);
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
    return runsOf(this, this.#rowOfQuery(b, h, query), query);
  }

  #rowOfQuery(b: number, h: number, query: number): number {
    checkIndex("b", b, this.batch === 1 ? Infinity : this.batch);
    checkIndex("h", h, this.heads === 1 ? Infinity : this.heads);
    checkIndex("query", query, this.queries);
    return rowOf(this, b, h, Math.floor(query / this.block[0]));
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
    return combine(this, other, (x, y) => x & y);
  }

  /**
   * Keeps what either keeps; otherwise as `and()`.
   *
   * @param other A mask of the same extents.
   * @throws {TypeError} When `other` is no block mask.
   * @throws {RangeError} When extents, batches or heads do not fit.
   */
  or(other: BlockMask): BlockMask {
    return combine(this, other, (x, y) => x | y);
  }

  /**
   * Keeps what this one does not.
   *
   * @throws {RangeError} When the blocks are too many.
   */
  not(): BlockMask {
    return combine(this, this, (x) => ~x & 255);
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
    const { batch, heads, queries, keys, block } = this;
    const group = groupOf(this), pictures = batch * heads;
    const lines = [
      `BlockMask [${batch}, ${heads}, ${queries}, ${keys}], blocks of ${block[0]} x ${block[1]}, ` +
      `density ${Number(this.density.toPrecision(3))}` +
      (group[0] * group[1] > 1 ? `, a character is ${group[0]} x ${group[1]} blocks` : ""),
    ];
    for (let p = 0; p < Math.min(pictures, 8); p++) {
      const b = Math.floor(p / heads), h = p % heads;
      if (pictures > 1) lines.push(`batch ${b}, head ${h}:`);
      const small = queries <= 32 && keys <= 32;
      lines.push(...small ? drawElements(this, b, h) : drawBlocks(this, b, h, group));
    }
    if (pictures > 8) lines.push(`and ${pictures - 8} more`);
    return lines.join("\n");
  }
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

/** Blocks along the queries and along the keys. */
export function blocksOf({ queries, keys, block }: Grid): [queryBlocks: number, keyBlocks: number] {
  return [Math.ceil(queries / block[0]), Math.ceil(keys / block[1])];
}

/** Queries of a query block that are within the extents. */
function heightOf({ queries, block }: Grid, queryBlock: number): number {
  return Math.min(block[0], queries - queryBlock * block[0]);
}

/** Keys of a key block that are within the extents. */
function widthOf({ keys, block }: Grid, column: number): number {
  return Math.min(block[1], keys - column * block[1]);
}

/** Row of blocks in `starts`; a mask with one batch or head has it for all. */
export function rowOf(mask: BlockMask, b: number, h: number, queryBlock: number): number {
  const { batch, heads, queryBlocks } = mask;
  return ((batch === 1 ? 0 : b) * heads + (heads === 1 ? 0 : h)) * queryBlocks + queryBlock;
}

/** Calls `act` for every row of blocks, in the order of `starts`. */
function eachRow(grid: Grid, act: (b: number, h: number, queryBlock: number) => void): void {
  const [queryBlocks] = blocksOf(grid);
  for (let b = 0; b < grid.batch; b++) {
    for (let h = 0; h < grid.heads; h++) {
      for (let queryBlock = 0; queryBlock < queryBlocks; queryBlock++) act(b, h, queryBlock);
    }
  }
}

/** Bytes of one row of a mixed block. */
function rowBytes({ block }: Grid): number {
  return Math.ceil(block[1] / 8);
}

/** Bits of a byte that are 1. */
function onesOf(byte: number): number {
  byte -= byte >> 1 & 0x55;
  byte = (byte & 0x33) + (byte >> 2 & 0x33);
  return byte + (byte >> 4) & 15;
}

function hasBit(mask: BlockMask, tile: number, query: number, key: number): boolean {
  const [height, width] = mask.block;
  const row = tile * height + query % height, bit = key % width;
  return (blocksIn(mask).bits[row * rowBytes(mask) + (bit >> 3)] >> (bit & 7) & 1) === 1;
}

function* runsOf(mask: BlockMask, row: number, query: number): Generator<[number, number]> {
  const { block } = mask, { columns, mixed, starts } = blocksIn(mask);
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

function checkIndex(name: string, index: number, extent: number): void {
  if (Number.isSafeInteger(index) && index >= 0 && index < extent) return;
  throw new RangeError(
    `Cannot read a block mask: \`${name}\` must be a whole number >= 0` +
      (extent < Infinity ? ` and < ${extent}` : "") + `, got ${kindOf(index)}`,
  );
}

/** Takes the blocks of a mask in the order of its rows. */
export class BlockWriter {
  readonly #grid: Grid;
  readonly #tileBytes: number;
  readonly #starts: Uint32Array<ArrayBuffer>;
  #columns = new Uint32Array(0);
  #mixed = new Int32Array(0);
  #bits = new Uint8Array(0);
  #row = 0;
  #entries = 0;
  #tiles = 0;

  constructor(grid: Grid) {
    this.#grid = grid;
    this.#tileBytes = grid.block[0] * rowBytes(grid);
    const rows = grid.batch * grid.heads * blocksOf(grid)[0];
    this.#starts = grown(new Uint32Array(0), rows + 1);
  }

  /** Adds a block to the row; the bits of a mixed one are those at `place()`. */
  add(column: number, isWhole: boolean): void {
    this.#columns = grown(this.#columns, this.#entries + 1);
    this.#mixed = grown(this.#mixed, this.#entries + 1);
    if (!isWhole) this.place();
    this.#columns[this.#entries] = column;
    this.#mixed[this.#entries++] = isWhole ? whole : this.#tiles++;
  }

  /**
   * Adds what is kept of a block, if anything; `byteAt` gives its bytes. What they leave behind
   * where the block is not mixed, the next one's replace: not to be used together with `place()`.
   */
  addBytes(queryBlock: number, column: number, byteAt: (index: number) => number): void {
    const rows = heightOf(this.#grid, queryBlock), width = widthOf(this.#grid, column);
    const bytes = rowBytes(this.#grid), place = this.place();
    let kept = 0;
    for (let k = 0; k < this.#tileBytes; k++) {
      // Bits past the extents stay 0.
      const columns = Math.max(0, Math.min(8, width - k % bytes * 8));
      const inside = k < rows * bytes ? (1 << columns) - 1 : 0;
      kept += onesOf(this.#bits[place + k] = byteAt(k) & inside);
    }
    if (kept > 0) this.add(column, kept === rows * width);
  }

  /** Byte of `bits` where the next mixed block, or the one so many before it, has its bits. */
  place(before = 0): number {
    this.#bits = grown(this.#bits, (this.#tiles + 1) * this.#tileBytes);
    return (this.#tiles - before) * this.#tileBytes;
  }

  /** All bits so far; another array after each `add()` and `place()`. */
  get bits(): Uint8Array<ArrayBuffer> {
    return this.#bits;
  }

  /** Ends a row of blocks. */
  endRow(): void {
    this.#starts[++this.#row] = this.#entries;
  }

  /** The mask, once every row has ended. */
  finish(): BlockMask {
    return new BlockMask(maker, this.#grid, {
      starts: this.#starts,
      columns: this.#columns.slice(0, this.#entries),
      mixed: this.#mixed.slice(0, this.#entries),
      bits: this.#bits.slice(0, this.#tiles * this.#tileBytes),
    });
  }
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
  const grid: Grid = { queries, keys, batch, heads, block: [height, width] };
  return rewritten(grid, {
    starts: new Uint32Array(plainArray("starts", starts, "Uint32Array")),
    columns: new Uint32Array(plainArray("columns", columns, "Uint32Array")),
    mixed: new Int32Array(plainArray("mixed", mixed, "Int32Array")),
    bits: new Uint8Array(plainArray("bits", bits, "Uint8Array")),
  });
}

/** An array of a kind, of whatever realm. */
function plainArray<A>(name: string, value: A, kind: string): A {
  if (kindOfArray(value) === kind) return value;
  throw new TypeError(`${cannot}: \`${name}\` must be a ${kind}, got ${kindOf(value)}`);
}

/** The mask of arrays that are ours, but by whomever: written once more, block by block. */
function rewritten(grid: Grid, { starts, columns, mixed, bits }: Blocks): BlockMask {
  const [queryBlocks, keyBlocks] = blocksOf(grid), rows = grid.batch * grid.heads * queryBlocks;
  const tileBytes = grid.block[0] * rowBytes(grid);
  let tiles = 0;
  const check = (name: string, isRight: boolean) => {
    if (isRight) return;
    throw new RangeError(
      `${cannot}: \`${name}\` is not that of a mask of ${grid.queries} x ${grid.keys} elements`,
    );
  };
  check("starts", starts.length === rows + 1 && starts[0] === 0);
  check("columns", starts[rows] === columns.length);
  check("mixed", mixed.length === columns.length);
  check("bits", bits.length === mixed.filter((kind) => kind !== whole).length * tileBytes);
  const writer = new BlockWriter(grid);
  for (let row = 0; row < rows; row++) {
    check("starts", starts[row] <= starts[row + 1] && starts[row + 1] <= columns.length);
    for (let e = starts[row]; e < starts[row + 1]; e++) {
      const column = columns[e], isAfter = e === starts[row] || column > columns[e - 1];
      check("columns", column < keyBlocks && isAfter);
      if (mixed[e] === whole) {
        writer.add(column, true);
        continue;
      }
      check("mixed", mixed[e] === tiles);
      const base = tiles++ * tileBytes;
      writer.addBytes(row % queryBlocks, column, (index) => bits[base + index]);
    }
    writer.endRow();
  }
  return writer.finish();
}

/** Elements of an array at most: what an `Int32Array` can count. */
const mostElements = 2 ** 31 - 1;

/** The array itself where it is long enough, or a longer one with the same beginning. */
function grown<A extends Uint8Array | Uint32Array | Int32Array | Float64Array>(
  array: A,
  length: number,
): A {
  if (length <= array.length) return array;
  try {
    if (length > mostElements) throw new RangeError();
    const Kind = array.constructor as new (length: number) => A;
    const longer = new Kind(Math.max(length, Math.min(2 * array.length, mostElements)));
    longer.set(array);
    return longer;
  } catch {
    throw new RangeError(`${cannot}: it needs an array of ${length} elements, which is too long`);
  }
}

/**
 * Adds the runs `[from, to)` of keys that a query sees: ascending from 0 on, none twice; empty ones
 * and what is past the last key do not count.
 */
export type Runs = (
  b: number,
  h: number,
  query: number,
  add: (from: number, to: number) => void,
) => void;

/** The mask that keeps these runs. Costs a few steps per run and per block, and per mixed bit. */
export function fromRuns(grid: Grid, runs: Runs): BlockMask {
  const writer = new BlockWriter(grid);
  const strip = new Strip(grid);
  eachRow(grid, (b, h, queryBlock) => {
    const first = queryBlock * grid.block[0], rows = heightOf(grid, queryBlock);
    for (let r = 0; r < rows; r++) {
      runs(b, h, first + r, strip.add);
      strip.endQuery();
    }
    strip.writeTo(writer);
  });
  return writer.finish();
}

/** One row of blocks while its runs come in. */
class Strip {
  readonly #grid: Grid;
  /** Elements kept per key block, each less those of the block before. */
  readonly #steps: Float64Array;
  /** Key blocks that a run touches: from the first to the last. */
  #low = Infinity;
  #high = -1;
  /** Runs of all queries one after the other: from, to, from, to. */
  #bounds: number[] = [];
  /** Of each query, where its runs end in `#bounds`. */
  #ends: number[] = [];

  constructor(grid: Grid) {
    this.#grid = grid;
    this.#steps = grown(new Float64Array(0), blocksOf(grid)[1] + 1);
  }

  readonly add = (from: number, to: number): void => {
    const width = this.#grid.block[1], steps = this.#steps;
    to = Math.min(to, this.#grid.keys);
    if (from >= to) return;
    this.#bounds.push(from, to);
    // The first block is kept from `from` on, the last one up to `to`, those between in full.
    const first = Math.floor(from / width), last = Math.floor((to - 1) / width);
    steps[first] += width - (from - first * width);
    steps[first + 1] += from - first * width;
    steps[last] -= width - (to - last * width);
    steps[last + 1] -= to - last * width;
    this.#low = Math.min(this.#low, first);
    this.#high = Math.max(this.#high, last);
  };

  endQuery(): void {
    this.#ends.push(this.#bounds.length);
  }

  /** Writes the row of blocks, and begins the next. */
  writeTo(writer: BlockWriter): void {
    const mixed: number[] = [];
    let kept = 0;
    for (let column = this.#low; column <= this.#high; column++) {
      kept += this.#steps[column];
      this.#steps[column] = 0;
      if (kept === 0) continue;
      const isWhole = kept === this.#ends.length * widthOf(this.#grid, column);
      writer.add(column, isWhole);
      if (!isWhole) mixed.push(column);
    }
    writer.endRow();
    this.#steps[this.#high + 1] = 0;
    if (mixed.length > 0) this.#setBits(mixed, writer.place(mixed.length), writer.bits);
    this.#low = Infinity;
    this.#high = -1;
    this.#bounds.length = this.#ends.length = 0;
  }

  /** Sets the bits of the mixed blocks, the first of which begins at byte `base`. */
  #setBits(mixed: number[], base: number, bits: Uint8Array): void {
    const bounds = this.#bounds, [height, width] = this.#grid.block;
    const bytes = rowBytes(this.#grid);
    for (let r = 0, run = 0; r < this.#ends.length; r++) {
      for (let m = 0; run < this.#ends[r]; run += 2) {
        const from = bounds[run], to = bounds[run + 1];
        while (m < mixed.length && (mixed[m] + 1) * width <= from) m++;
        for (let n = m; n < mixed.length && mixed[n] * width < to; n++) {
          const first = mixed[n] * width, row = base + (n * height + r) * bytes;
          const last = Math.min(to - first, width);
          for (let c = Math.max(from - first, 0); c < last; c++) {
            bits[row + (c >> 3)] |= 1 << (c & 7);
          }
        }
      }
    }
  }
}

/** Batches or heads of two masks together: one counts for all. */
function shared(name: "batch" | "heads", a: BlockMask, b: BlockMask): number {
  if (a[name] !== b[name] && a[name] !== 1 && b[name] !== 1) {
    throw new RangeError(
      `Cannot combine block masks: \`${name}\` must be equal or 1, got ${a[name]} and ${b[name]}`,
    );
  }
  return Math.max(a[name], b[name]);
}

/** The grid of two masks together: the block size of the first. */
function sharedGrid(a: BlockMask, b: BlockMask): Grid {
  if (a.queries !== b.queries || a.keys !== b.keys) {
    throw new RangeError(
      "Cannot combine block masks: queries and keys must be equal, " +
        `got ${a.queries} x ${a.keys} and ${b.queries} x ${b.keys}`,
    );
  }
  const { queries, keys, block } = a;
  return { queries, keys, block, batch: shared("batch", a, b), heads: shared("heads", a, b) };
}

/** The same mask in blocks of another size. */
function reblock(mask: BlockMask, block: Grid["block"]): BlockMask {
  if (mask.block[0] === block[0] && mask.block[1] === block[1]) return mask;
  const { queries, keys, batch, heads } = mask;
  return fromRuns({ queries, keys, batch, heads, block }, (b, h, query, add) => {
    const row = rowOf(mask, b, h, Math.floor(query / mask.block[0]));
    for (const [from, to] of runsOf(mask, row, query)) add(from, to);
  });
}

/** Eight elements of two masks to those of their combination; rises or falls with both. */
type BitwiseOp = (x: number, y: number) => number;

/** Combines two masks block by block. */
function combine(a: BlockMask, other: BlockMask, op: BitwiseOp): BlockMask {
  const read = maskOf(other);
  if (read === undefined) {
    throw new TypeError(
      `Cannot combine block masks: the other must be a BlockMask, got ${kindOf(other)}`,
    );
  }
  const grid = sharedGrid(a, read), b = reblock(read, grid.block);
  const writer = new BlockWriter(grid);
  // Where neither mask has a block, the result has none either, unless `op` says so.
  const everywhere = op(0, 0) !== 0;
  eachRow(grid, (batch, head, queryBlock) => {
    const x = new Cursor(a, rowOf(a, batch, head, queryBlock));
    const y = new Cursor(b, rowOf(b, batch, head, queryBlock));
    for (let next = 0;; next++) {
      const column = everywhere ? next : Math.min(x.next, y.next);
      if (column >= a.keyBlocks) break;
      x.moveTo(column);
      y.moveTo(column);
      const byte = op(x.low, y.low);
      if (op(x.high, y.high) !== byte) {
        writer.addBytes(queryBlock, column, (k) => op(x.byteAt(k), y.byteAt(k)));
      } else if (byte !== 0) {
        writer.add(column, true);
      }
    }
    writer.endRow();
  });
  return writer.finish();
}

/** Walks over the key blocks of a row. */
class Cursor {
  readonly #blocks: Blocks;
  readonly #tileBytes: number;
  readonly #end: number;
  #entry: number;
  #base = 0;
  /** The least and the greatest byte of the block: equal where it is skipped or whole. */
  low = 0;
  high = 0;

  constructor(mask: BlockMask, row: number) {
    this.#blocks = blocksIn(mask);
    this.#tileBytes = mask.block[0] * rowBytes(mask);
    this.#entry = this.#blocks.starts[row];
    this.#end = this.#blocks.starts[row + 1];
  }

  /** The next key block with an entry. */
  get next(): number {
    return this.#entry < this.#end ? this.#blocks.columns[this.#entry] : Infinity;
  }

  /** Goes on to a key block, which is not past `next`. */
  moveTo(column: number): void {
    const kind = this.next === column ? this.#blocks.mixed[this.#entry++] : skipped;
    this.low = kind === whole ? 255 : 0;
    this.high = kind === skipped ? 0 : 255;
    this.#base = kind * this.#tileBytes;
  }

  byteAt(index: number): number {
    return this.low === this.high ? this.low : this.#blocks.bits[this.#base + index];
  }
}

/** Blocks that a character stands for, so that a picture has at most 64 x 64. */
function groupOf({ queryBlocks, keyBlocks }: BlockMask): [number, number] {
  return [Math.max(1, Math.ceil(queryBlocks / 64)), Math.max(1, Math.ceil(keyBlocks / 64))];
}

function drawElements(mask: BlockMask, b: number, h: number): string[] {
  const draw = (length: number, one: (index: number) => string) =>
    Array.from({ length }, (_, index) => one(index));
  return draw(
    mask.queries,
    (query) => draw(mask.keys, (key) => mask.keeps(b, h, query, key) ? "1" : "0").join(""),
  );
}

function drawBlocks(mask: BlockMask, b: number, h: number, group: [number, number]): string[] {
  const { queryBlocks, keyBlocks } = mask, { starts, columns, mixed } = blocksIn(mask);
  const lines: string[] = [];
  for (let first = 0; first < queryBlocks; first += group[0]) {
    const rows = Math.min(group[0], queryBlocks - first), row = rowOf(mask, b, h, first);
    const listed = new Array<number>(Math.ceil(keyBlocks / group[1])).fill(0);
    const wholes = listed.slice();
    for (let e = starts[row]; e < starts[row + rows]; e++) {
      const at = Math.floor(columns[e] / group[1]);
      listed[at]++;
      if (mixed[e] === whole) wholes[at]++;
    }
    lines.push(
      listed.map((count, at) => {
        const all = rows * Math.min(group[1], keyBlocks - at * group[1]);
        return count === 0 ? "." : wholes[at] === all ? "#" : "+";
      }).join(""),
    );
  }
  return lines;
}
