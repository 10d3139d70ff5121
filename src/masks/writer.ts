/**
 * Writing block masks: from runs of keys query by query, or block by block.
 *
 * @module
 */

import {
  type Blocks,
  blocksOf,
  cannot,
  eachRow,
  type Grid,
  heightOf,
  onesOf,
  rowBytes,
  whole,
  widthOf,
} from "./blocks.ts";

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

  /** The blocks, once every row has ended. */
  finish(): Blocks {
    const { queries, keys, batch, heads, block } = this.#grid;
    return {
      ...{ queries, keys, batch, heads, block },
      starts: this.#starts,
      columns: this.#columns.slice(0, this.#entries),
      mixed: this.#mixed.slice(0, this.#entries),
      bits: this.#bits.slice(0, this.#tiles * this.#tileBytes),
    };
  }
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

/** The blocks that keep these runs. Costs a few steps per run and per block, and per mixed bit. */
export function writeRuns(grid: Grid, runs: Runs): Blocks {
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

/** The blocks of arrays that are ours, but by whomever: checked, and written once more, block by block. */
export function rewrite({ starts, columns, mixed, bits, ...grid }: Blocks): Blocks {
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
