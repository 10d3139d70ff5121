// Tile memory of forward, which each thread has for itself. One behind the other:
//
//   scores [tileKeys][8], tile, lanes   what one panel and a tile of keys need
//   wide                                a tile of token blocks in f32, or a copy of its values
//   what few queries of decoding need   see decode.ts
//   panels                              of a tile of rows, unless the job says where these are
//   sums                                of parts of the keys, where there is more than one
//   a pair                              scores of a second panel, in the wide program
//   score and mask functions            in the program of these

import { wideBytes } from "./blocks/widen";
import { SCORED, WIDE } from "./build";
import { decodeBytes } from "./decode";
import { PANEL, panelBytes, sumBytes, Tile, tileBytes } from "./record";
import { Job, PART_KEYS } from "./records.gen";
import { workBytes } from "./scored/work";
import { pairBytes } from "./wide/pair";

// @ts-ignore: decorator
@inline
export function tileOf(job: Job, scratch: usize): Tile {
  return changetype<Tile>(scratch + (job.tileKeys << 5));
}

// Where the panels begin in tile memory.
export function panelsAt(job: Job): usize {
  return tileBytes(job.tileKeys) + ((wideBytes(job) + 15) & ~15) + decodeBytes(job);
}

// Of each panel, what the parts before the one under way have summed to, and what rounding took from that.
function sumsBytes(job: Job): usize {
  return job.keys > PART_KEYS ? (job.tileRows / PANEL) * 2 * sumBytes(job) : 0;
}

// @ts-ignore: decorator
@inline
export function sumsAt(job: Job): usize {
  return (job.tileRows / PANEL) * panelBytes(job) + panelsAt(job);
}

// Bytes of tile memory that the job needs, at 16-byte alignment.
export function scratchBytes(job: Job): usize {
  if (SCORED) return workAt(job) + workBytes(job);
  return pairAt(job) + (WIDE ? pairBytes(job) : 0);
}

// Where two panels at once have what is the second one's.
export function pairAt(job: Job): usize {
  return sumsAt(job) + sumsBytes(job);
}

// Where score and mask functions have what is theirs.
export function workAt(job: Job): usize {
  return (pairAt(job) + 63) & ~63;
}
