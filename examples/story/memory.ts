/**
 * Slow memory (HBM) and a fast one of M numbers (SRAM); what goes between them is counted.
 *
 * Fast memory holds every tile that is loaded or will be stored. The scores of one tile, and a few
 * statistics per row, are in registers: they are made and used there.
 *
 * @module
 */

/** A stretch of rows or columns. */
export interface Span {
  readonly start: number;
  readonly count: number;
}

/** A matrix in slow memory. */
export class Matrix {
  readonly all: readonly [Span, Span];

  constructor(
    readonly name: string,
    readonly rows: number,
    readonly columns: number,
    readonly data = new Float64Array(rows * columns),
  ) {
    this.all = [{ start: 0, count: rows }, { start: 0, count: columns }];
  }
}

/** A part of a matrix, in fast memory. */
export class Tile {
  readonly rows: readonly Float64Array[];
  readonly size: number;

  constructor(
    readonly matrix: Matrix,
    readonly down: Span,
    readonly across: Span,
  ) {
    this.rows = Array.from({ length: down.count }, () => new Float64Array(across.count));
    this.size = down.count * across.count;
  }
}

/** One thing that happens to fast memory. */
export interface Move {
  /** `make` is room for a result: nothing is read. */
  readonly kind: "load" | "make" | "store" | "free";
  readonly matrix: Matrix;
  readonly down: Span;
  readonly across: Span;
}

/** Where a matrix begins as one number everywhere, it is written like any other result. */
export function fill(matrix: Matrix, value: number, count: number, memory: Memory): void {
  for (let start = 0; start < matrix.rows; start += count) {
    const tile = memory.make(matrix, { start, count: Math.min(count, matrix.rows - start) });
    for (const row of tile.rows) row.fill(value);
    memory.store(tile);
    memory.free(tile);
  }
}

/** Fast memory, and the count of what it reads and writes of the slow one. */
export class Memory {
  reads = 0;
  writes = 0;
  /** Numbers that are in it now. */
  used = 0;
  /** Most numbers that were in it at a time. */
  most = 0;

  /**
   * @param size Numbers that fit, M.
   * @param onMove Told of each move before it is counted; may throw, which ends what runs.
   */
  constructor(readonly size: number, readonly onMove: (move: Move) => void = () => {}) {}

  /** Copies a part of a matrix into fast memory. */
  load(matrix: Matrix, down: Span, across: Span = matrix.all[1]): Tile {
    const tile = this.#take("load", matrix, down, across);
    this.reads += tile.size;
    tile.rows.forEach((row, i) => row.set(partOf(matrix, down.start + i, across)));
    return tile;
  }

  /** Makes room for a part of a matrix that is computed: zeros, of which nothing is read. */
  make(matrix: Matrix, down: Span, across: Span = matrix.all[1]): Tile {
    return this.#take("make", matrix, down, across);
  }

  /** Copies a tile back to where it belongs. */
  store(tile: Tile): void {
    const { matrix, down, across } = tile;
    this.onMove({ kind: "store", matrix, down, across });
    this.writes += tile.size;
    tile.rows.forEach((row, i) => partOf(matrix, down.start + i, across).set(row));
  }

  /** Forgets tiles. */
  free(...tiles: readonly Tile[]): void {
    for (const { matrix, down, across, size } of tiles) {
      this.used -= size;
      this.onMove({ kind: "free", matrix, down, across });
    }
  }

  /** Reads one number a row into registers. */
  read(column: Matrix, down: Span): Float64Array {
    this.reads += down.count;
    return column.data.slice(down.start, down.start + down.count);
  }

  /** Writes one number a row from registers. */
  write(values: Float64Array, column: Matrix, down: Span): void {
    this.writes += down.count;
    column.data.set(values, down.start);
  }

  #take(kind: "load" | "make", matrix: Matrix, down: Span, across: Span): Tile {
    const size = down.count * across.count, free = this.size - this.used;
    if (size > free) {
      throw new RangeError(
        `A tile of ${matrix.name} of ${down.count} x ${across.count} numbers does not fit into ` +
          `fast memory, where ${free} of M = ${this.size} are free: take smaller tiles or a ` +
          "larger M",
      );
    }
    this.used += size;
    this.most = Math.max(this.most, this.used);
    this.onMove({ kind, matrix, down, across });
    return new Tile(matrix, down, across);
  }
}

function partOf({ data, columns }: Matrix, row: number, { start, count }: Span): Float64Array {
  return data.subarray(row * columns + start, row * columns + start + count);
}
