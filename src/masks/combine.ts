/**
 * What two block masks keep together: block by block, and only in mixed ones byte by byte.
 *
 * @module
 */

import {
  type Blocks,
  blocksOf,
  eachRow,
  type Grid,
  rowBytes,
  rowOf,
  runsOf,
  skipped,
  whole,
} from "./blocks.ts";
import { BlockWriter, writeRuns } from "./writer.ts";

/** Batches or heads of two masks together: one counts for all. */
function shared(name: "batch" | "heads", a: Grid, b: Grid): number {
  if (a[name] !== b[name] && a[name] !== 1 && b[name] !== 1) {
    throw new RangeError(
      `Cannot combine block masks: \`${name}\` must be equal or 1, got ${a[name]} and ${b[name]}`,
    );
  }
  return Math.max(a[name], b[name]);
}

/** The grid of two masks together: the block size of the first. */
function sharedGrid(a: Grid, b: Grid): Grid {
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
function reblock(mask: Blocks, block: Grid["block"]): Blocks {
  if (mask.block[0] === block[0] && mask.block[1] === block[1]) return mask;
  const { queries, keys, batch, heads } = mask;
  return writeRuns({ queries, keys, batch, heads, block }, (b, h, query, add) => {
    const row = rowOf(mask, b, h, Math.floor(query / mask.block[0]));
    for (const [from, to] of runsOf(mask, row, query)) add(from, to);
  });
}

/** Eight elements of two masks to those of their combination; rises or falls with both. */
type BitwiseOp = (x: number, y: number) => number;

/** Combines two masks block by block. */
export function combine(a: Blocks, other: Blocks, op: BitwiseOp): Blocks {
  const grid = sharedGrid(a, other), b = reblock(other, grid.block), [, keyBlocks] = blocksOf(a);
  const writer = new BlockWriter(grid);
  // Where neither mask has a block, the result has none either, unless `op` says so.
  const everywhere = op(0, 0) !== 0;
  eachRow(grid, (batch, head, queryBlock) => {
    const x = new Cursor(a, rowOf(a, batch, head, queryBlock));
    const y = new Cursor(b, rowOf(b, batch, head, queryBlock));
    for (let next = 0;; next++) {
      const column = everywhere ? next : Math.min(x.next, y.next);
      if (column >= keyBlocks) break;
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

  constructor(mask: Blocks, row: number) {
    this.#blocks = mask;
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
