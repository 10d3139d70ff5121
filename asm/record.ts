// Records in the memory of a thread, which forward and gradients share. Those that TypeScript writes are in
// records.gen.ts. A class is a layout here: what is at which byte of an address. Nothing is allocated.

import { LANES_SLACK } from "./mask";
import { GroupRows, Job } from "./records.gen";

export const PANEL: usize = 8; // rows side by side: two vectors

// What is summed over, values for one: four columns from 4c on of row j begin at at + j * row + c * columns.
@unmanaged
export class Columns {
  at: usize;
  row: usize;
  columns: usize;
  count: usize; // rows
  skipped: usize; // rows of the tile before them
  // Where eight columns are summed at a time: bytes from the first four to the others, 0 where there are none, and from
  // the sums of the ones to those of the others.
  others: usize;
  otherSums: usize;
}

// Where one query of decoding is summed: o[columns][8], or o[columns] where it is the only one.
@unmanaged
export class Output {
  o: usize;
  columns: usize; // a multiple of 4
  alpha: f32; // factor of what was summed before
  scratch: usize; // room for 128 bytes, in the wide program
  isOnly: bool;
}

// A pass over scores that makes weights of them: see exp.gen.ts.
@unmanaged
export class Powers {
  alpha: usize; // factors of what was summed before; 0 for gradients
  width: usize; // bytes of a key's scores: 32, or 16 where only four queries count
  units: f32; // what makes scores such to base 4, in the program of functions
  // Of gradients: those of the weights, in the place of which those of the scores come; where both are transposed, and
  // the bytes from one eight to the next.
  dScores: usize;
  transposedWeights: usize;
  transposedDScores: usize;
  stride: usize;
}

// A tile of rows against a tile of keys: what is under way. Forward's scores [tileKeys][8] are in front of it.
@unmanaged
export class Tile {
  s: usize; // scores
  // Rows: their panels, the first one, and the one behind the last.
  panels: usize;
  firstRow: usize;
  endRow: usize;
  // Which part of PART_KEYS keys, and whether the sums hold one before it.
  part: usize;
  hasSums: bool;
  width: usize; // bytes of a key's scores: 16 where the job has four rows at most
  // Keys that the rows visit, and what these are in: an interval of a block mask or a token block, 0 for none.
  from: usize;
  to: usize;
  interval: usize;
  isKept: bool; // whether these are a cache's first ones, which rows see wherever they stand
  block: usize;
  blockFirst: usize; // the block's first key
  // The tile of keys: its first, a multiple of 4, the panels [keys / 4][dim][4] that begin with it, and values.
  first: usize;
  k: usize;
  v: usize;
  row: usize;
  columns: usize;
  keys: usize; // a multiple of 4
  scales: usize; // of a block's keys; of f16, whether some are not finite
  finite: u32; // whether its values are, once that is known
  // What one panel looks at: the first key that some row sees, a multiple before it, and the key behind the last;
  // between `fullFrom` and `fullTo` the bounds of no row hide any.
  seen: usize;
  begin: usize;
  end: usize;
  fullFrom: usize;
  fullTo: usize;
  work: usize; // what score and mask functions have, in their program

  @inline
  get address(): usize {
    return changetype<usize>(this);
  }

  // Where a tile begins that has a key: keys that are stored together stay so.
  @inline
  beginAt(key: usize): usize {
    return this.block == 0 ? key & ~3 : key & ~7;
  }

  // All values of the tile.
  @inline
  get values(): Columns {
    return changetype<Columns>(this.address + offsetof<Tile>("v"));
  }

  // Those of the keys that a panel looks at, to be summed.
  seenValues(): Columns {
    const values = this.summed;
    values.row = this.row;
    values.columns = this.columns;
    values.at = this.v + this.skipped * this.row;
    values.count = this.count;
    values.skipped = this.skipped;
    return values;
  }

  // Those that are summed.
  @inline
  get summed(): Columns {
    return changetype<Columns>(this.address + SUMMED);
  }

  @inline
  get output(): Output {
    return changetype<Output>(this.address + OUTPUT);
  }

  @inline
  get powers(): Powers {
    return changetype<Powers>(this.address + POWERS);
  }

  // The bounds of a panel's rows, within from..to: first[8], end[8].
  @inline
  get bounds(): usize {
    return this.address + TILE_BOUNDS;
  }

  // Addresses of the rows of an interval's bits, [8].
  @inline
  get bitRows(): usize {
    return this.address + BIT_ROWS;
  }

  // A byte for each key from `begin` on, whose bit r says whether row r of a panel sees it.
  @inline
  get lanes(): usize {
    return this.address + LANES;
  }

  // Keys from the tile's first to `begin`.
  @inline
  get skipped(): usize {
    return this.begin - this.first;
  }

  // Keys from `begin` to `end`, and the fours that they are in.
  @inline
  get count(): usize {
    return this.end - this.begin;
  }

  @inline
  get groups(): usize {
    return (this.end - this.begin + 3) >> 2;
  }
}

const SUMMED: usize = (offsetof<Tile>() + 15) & ~15;
const OUTPUT: usize = SUMMED + offsetof<Columns>();
const POWERS: usize = (OUTPUT + offsetof<Output>() + 3) & ~3;
const TILE_BOUNDS: usize = (POWERS + offsetof<Powers>() + 15) & ~15;
const BIT_ROWS: usize = TILE_BOUNDS + 64;
const LANES: usize = BIT_ROWS + 32;

// Bytes of scores, tile and lanes.

// @ts-ignore: decorator
@inline
export function tileBytes(keys: usize): usize {
  return (keys << 5) + LANES + ((keys + LANES_SLACK + 15) & ~15);
}

// What is known of the eight rows of a panel: addresses of a lane each.
@unmanaged
export class State {
  @inline
  get address(): usize {
    return changetype<usize>(this);
  }

  // The running maximum; of gradients the row's lse.
  @inline
  get m(): usize {
    return this.address;
  }

  // The running sum; of gradients the row's delta.
  @inline
  get l(): usize {
    return this.address + 32;
  }

  @inline
  get alpha(): usize {
    return this.address + ALPHA;
  }

  // first[8], end[8] of the keys that the rows see.
  @inline
  get bounds(): usize {
    return this.address + 96;
  }

  // The softmax's scratch.
  @inline
  get shift(): usize {
    return this.address + 160;
  }

  @inline
  get slopes(): usize {
    return this.address + 192;
  }

  @inline
  get aligned(): usize {
    return this.address + 224;
  }

  // Addresses.
  @inline
  get biasRows(): usize {
    return this.address + 256;
  }

  // Addresses.
  @inline
  get maskRows(): usize {
    return this.address + 288;
  }

  // The state of one row as if it were the first.
  @inline
  lane(lane: usize): State {
    return changetype<State>(this.address + (lane << 2));
  }
}

const ALPHA: usize = 64;
const STATE: usize = 320;

// A panel: queries [dim][8], o [valueDim up to a multiple of 4][8], the rows' state. Of gradients dO is in the place
// of o.

// @ts-ignore: decorator
@inline
export function outputBytes(job: Job): usize {
  return ((job.valueDim + 3) & ~3) << 5;
}

// @ts-ignore: decorator
@inline
export function panelBytes(job: Job): usize {
  return (job.dim << 5) + outputBytes(job) + STATE;
}

// @ts-ignore: decorator
@inline
export function outputOf(job: Job, panel: usize): usize {
  return panel + (job.dim << 5);
}

// @ts-ignore: decorator
@inline
export function stateOf(job: Job, panel: usize): State {
  return changetype<State>(outputOf(job, panel) + outputBytes(job));
}

// Bytes of o, m and l of a panel.

// @ts-ignore: decorator
@inline
export function sumBytes(job: Job): usize {
  return outputBytes(job) + ALPHA;
}

// Query rows of a job. Numbered position-major: row r is head r % group of the group at position r / group. Grouped
// heads thus share each loaded key, and neighbouring rows have neighbouring bounds.

// @ts-ignore: decorator
@inline
export function rowsOf(job: Job): usize {
  return job.positions * job.group;
}

// Address of a row in an array of [positions][group].

// @ts-ignore: decorator
@inline
export function rowOf(base: usize, position: usize, head: usize, row: usize, group: usize): usize {
  return base + (row / group) * position + (row % group) * head;
}

// Addresses of four rows from `row` on; of those past the last, its own.
export function fourRowsOf(rows: GroupRows, row: usize, end: usize, group: usize): v128 {
  const base = rows.at, position = rows.position, head = rows.head, last = end - 1;
  return addresses(
    rowOf(base, position, head, min(row, last), group),
    rowOf(base, position, head, min(row + 1, last), group),
    rowOf(base, position, head, min(row + 2, last), group),
    rowOf(base, position, head, min(row + 3, last), group),
  );
}

// Four addresses as one vector.

// @ts-ignore: decorator
@inline
export function addresses(a: usize, b: usize, c: usize, d: usize): v128 {
  const ab = i32x4.replace_lane(i32x4.splat(<i32>a), 1, <i32>b);
  return i32x4.replace_lane(i32x4.replace_lane(ab, 2, <i32>c), 3, <i32>d);
}

// The rows of queries, and those of results.

// @ts-ignore: decorator
@inline
export function queriesOf(job: Job): GroupRows {
  return changetype<GroupRows>(changetype<usize>(job) + offsetof<Job>("q"));
}

// @ts-ignore: decorator
@inline
export function resultsOf(job: Job): GroupRows {
  return changetype<GroupRows>(changetype<usize>(job) + offsetof<Job>("out"));
}
