// What a thread has of score and mask functions in tile memory: a run, registers of the program, and registers of intervals.

import { Tile } from "../record";
import { Job, ScoreProgram } from "../records.gen";
import { Run } from "./run";

@unmanaged
export class Work {
  // What the mask function says of a tile of rows and keys, and of what a panel looks at.
  ofTile: i32;
  ofPanel: i32;
  // Of those keys the ones that not all rows of the panel see.
  maskFrom: usize;
  maskTo: usize;
  // The keys of the panel before, of the same tile, and how far both ends were from those of the one before that.
  from: usize;
  to: usize;
  fromMoved: isize;
  toMoved: isize;

  @inline
  get address(): usize {
    return changetype<usize>(this);
  }

  @inline
  get run(): Run {
    return changetype<Run>(this.address + RUN);
  }

  @inline
  get registers(): usize {
    return this.address + REGISTERS;
  }
}

const RUN: usize = (offsetof<Work>() + 15) & ~15;
const REGISTERS: usize = (RUN + offsetof<Run>() + 63) & ~63;

// @ts-ignore: decorator
@inline
export function programOf(job: Job): ScoreProgram {
  return changetype<ScoreProgram>(job.program);
}

// @ts-ignore: decorator
@inline
export function workOf(tile: Tile): Work {
  return changetype<Work>(tile.work);
}

// Bytes of all.
export function workBytes(job: Job): usize {
  const program = programOf(job);
  return REGISTERS + program.registerBytes + program.rangeBytes;
}
