// Two panels at once against a tile of keys, in the wide program: see pair.ts.

import { accumulate } from "../forward";
import { findSeen, finishScores, hasMasks } from "../panel";
import { dotPanels } from "../products";
import { outputOf, panelBytes, State, stateOf, Tile } from "../record";
import { Job } from "../records.gen";
import { pairAt } from "../scratch";
import { softmax } from "../softmax";
import { accumulatePairs, dotPairs, Pair, PAIR_BYTES } from "./pair";

// Whether all rows of the panel that was looked at see all keys that the rows of a tile visit, by their bounds alone, and
// these begin with a four: so no value that is looked at has a weight of 0 for being hidden.
function seesAll(tile: Tile): bool {
  return tile.begin == tile.from && tile.fullFrom == tile.from && tile.fullTo == tile.to;
}

// Two panels at once, where bounds alone say what their rows see, and both begin with the same keys. Returns whether it
// was done.
export function attendPair(job: Job, tile: Tile, panel: usize): bool {
  const other = panel + panelBytes(job), left = stateOf(job, panel), right = stateOf(job, other), dim = job.dim;
  if (job.decode != 0 || job.bias != 0 || hasMasks(job, tile) || !findSeen(tile, left, 4)) return false;
  const begin = tile.begin, groups = tile.groups, isLeftWhole = seesAll(tile);
  if (!findSeen(tile, right, 4) || tile.begin != begin) return false;
  const isWhole = isLeftWhole && seesAll(tile), common = min(groups, tile.groups);
  const pair = changetype<Pair>(tile.s + pairAt(job)), s = tile.s, t = changetype<usize>(pair) + PAIR_BYTES;
  pair.left = panel;
  pair.right = other;
  pair.apart = t - s;
  dotPairs(tile.k + tile.skipped * (dim << 2), s, dim, common, pair);
  if (isWhole) {
    weigh(job, tile, left);
    tile.s = t;
    weigh(job, tile, right);
    pair.right = t;
    pair.leftAlpha = left.alpha;
    pair.rightAlpha = right.alpha;
    pair.apart = other - panel;
    accumulatePairs(tile.seenValues(), s, outputOf(job, panel), left.address, pair);
  } else {
    attendRest(job, tile, panel, common);
    tile.s = t;
    attendRest(job, tile, other, common);
  }
  tile.s = s;
  return true;
}

// Scores of a panel that no mask is for become weights.
function weigh(job: Job, tile: Tile, state: State): void {
  finishScores(job, tile, state, false);
  softmax(tile, state, job.unit);
}

// A panel that has scores of its first keys, so many fours.
function attendRest(job: Job, tile: Tile, panel: usize, groups: usize): void {
  const state = stateOf(job, panel), dim = job.dim;
  findSeen(tile, state, 4);
  const k = tile.k + (tile.skipped + (groups << 2)) * (dim << 2);
  dotPanels(job.splats, k, panel, tile.s + (groups << 7), dim, tile.groups - groups);
  weigh(job, tile, state);
  accumulate(job, tile, panel, false);
}
