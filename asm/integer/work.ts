// Records in the memory of a thread, beside those of f32 (../record.ts), and where all of them are. One behind the other:
//
//   scores [tileKeys][8], tile, lanes   as those of f32
//   wide                                a tile of token blocks in f32
//   work                                a product under way
//   weights                             integers of a panel's weights, [tileKeys / n][8][n]
//   spare                               a panel, for rows that f32 attends to
//   panels                              of a tile of rows: that of f32, levels, queries as integers [steps][8][n]

import { wideBytes } from "../blocks/widen";
import { panelBytes, PANEL, Tile, tileBytes } from "../record";
import { Job } from "../records.gen";
import { queryBytes } from "./head";

// What is known of the eight rows of a panel: vectors of eight.
@unmanaged
export class Levels {
  @inline
  get address(): usize {
    return changetype<usize>(this);
  }

  // What one step of a query's integers is, and of bytes how many steps its lowest number is above 0.
  @inline
  get scale(): usize {
    return this.address;
  }

  @inline
  get zero(): usize {
    return this.address + 32;
  }

  // The query times the mean of the keys, which scores lack.
  @inline
  get shift(): usize {
    return this.address + 64;
  }

  // All ones where the query is for f32.
  @inline
  get outside(): usize {
    return this.address + 96;
  }

  // The tile's maximum, and what exponents of two are multiplied by.
  @inline
  get top(): usize {
    return this.address + 128;
  }

  @inline
  get by(): usize {
    return this.address + 160;
  }

  // Factors of what was summed before, and of the tile's sums; and the sum of its weights.
  @inline
  get alpha(): usize {
    return this.address + 192;
  }

  @inline
  get beta(): usize {
    return this.address + 224;
  }

  @inline
  get weight(): usize {
    return this.address + 256;
  }

  // All ones where the tile's scores are for f32.
  @inline
  get exact(): usize {
    return this.address + 288;
  }
}

const LEVELS: usize = 320;

// A product, and the tile that it is of.
@unmanaged
export class Work {
  // Words of the left operand, of queries or weights, and where the result goes.
  a: usize;
  b: usize;
  to: usize;
  // Words of a sum, fours of rows of the left operand, and bytes from one four to the next.
  steps: usize;
  groups: usize;
  stride: usize;
  // Of the left operand's rows: what a step is, and of keys the sum of their bytes, of values their mean.
  scales: usize;
  sums: usize;
  levels: Levels;
  // The tile's number, and whether it is f32 already.
  index: usize;
  isWide: bool;
}

// @ts-ignore: decorator
@inline
export function workOf(job: Job, tile: Tile): Work {
  return changetype<Work>(tile.s + workAt(job));
}

function workAt(job: Job): usize {
  return tileBytes(job.tileKeys) + ((wideBytes(job) + 15) & ~15);
}

const WORK: usize = (offsetof<Work>() + 15) & ~15;

// @ts-ignore: decorator
@inline
export function weightsOf(work: Work): usize {
  return changetype<usize>(work) + WORK;
}

function spareAt(job: Job): usize {
  return workAt(job) + WORK + (job.tileKeys << 4);
}

export function spareOf(job: Job, tile: Tile): usize {
  return tile.s + spareAt(job);
}

// @ts-ignore: decorator
@inline
export function levelsOf(job: Job, panel: usize): Levels {
  return changetype<Levels>(panel + panelBytes(job));
}

// A panel's queries as integers.

// @ts-ignore: decorator
@inline
export function wordsOf(job: Job, panel: usize): usize {
  return panel + panelBytes(job) + LEVELS;
}

// Bytes of a panel with all that integers need.
export function wholePanelBytes(job: Job): usize {
  return panelBytes(job) + LEVELS + queryBytes(job);
}

export function panelsAt(job: Job): usize {
  return spareAt(job) + panelBytes(job);
}

// Bytes of tile memory that the job needs, at 16-byte alignment.
export function scratchBytes(job: Job): usize {
  return panelsAt(job) + (job.tileRows / PANEL) * wholePanelBytes(job);
}
