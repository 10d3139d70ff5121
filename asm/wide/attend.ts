// Two panels at once against a tile of keys, in the wide program: see pair.ts.

import { findSeen, finishScores, hasMasks } from "../panel";
import { outputOf, panelBytes, State, stateOf, Tile } from "../record";
import { Job } from "../records.gen";
import { pairAt } from "../scratch";
import { softmax } from "../softmax";
import { accumulatePairs, dotPairs, Pair, PAIR_BYTES } from "./pair";

// Whether all rows of a panel see all keys that the rows of a tile visit, by their bounds alone, and these begin with a
// four: so no value that is looked at has a weight of 0 for being hidden.
function seesAll(tile: Tile, state: State): bool {
  return findSeen(tile, state, 4) && tile.begin == tile.from && tile.fullFrom == tile.from && tile.fullTo == tile.to;
}

// Two panels at once, where that is all there is to it: no row is masked. Returns whether it was done.
export function attendPair(job: Job, tile: Tile, panel: usize): bool {
  const other = panel + panelBytes(job), left = stateOf(job, panel), right = stateOf(job, other), dim = job.dim;
  if (job.decode != 0 || job.bias != 0 || hasMasks(job, tile)) return false;
  if (!seesAll(tile, left) || !seesAll(tile, right)) return false;
  const pair = changetype<Pair>(tile.s + pairAt(job)), s = tile.s, t = changetype<usize>(pair) + PAIR_BYTES;
  pair.left = panel;
  pair.right = other;
  pair.apart = t - s;
  dotPairs(tile.k + tile.skipped * (dim << 2), s, dim, tile.groups, pair);
  weigh(job, tile, left);
  tile.s = t;
  weigh(job, tile, right);
  tile.s = s;
  pair.right = t;
  pair.leftAlpha = left.alpha;
  pair.rightAlpha = right.alpha;
  pair.apart = other - panel;
  accumulatePairs(tile.seenValues(), s, outputOf(job, panel), left.address, pair);
  return true;
}

// Scores of a panel that no mask is for become weights.
function weigh(job: Job, tile: Tile, state: State): void {
  finishScores(job, tile, state, false);
  softmax(tile, state, job.unit);
}
