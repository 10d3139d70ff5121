// FlashAttention, forward, as ../forward.ts, with both products by integers (SageAttention, Zhang et al., arXiv 2410.02367, has
// scores by bytes of smoothed keys). Scores are f32 as soon as they are summed, so that masks, biases and caps are the ones of
// f32. What is not finite, or too large, is attended to by f32: a tile of keys for all rows, else a row by itself, so
// that no row depends on those that are computed with it.

import { widen } from "../blocks/widen";
import { beginPanel, endPanel, setTile } from "../forward";
import * as mask from "../mask";
import {
  findSeen, finishScores, hasMasks, intervalsOf, mayMeet, readMasks, tileEnd,
} from "../panel";
import { accumulateSeen, dotPanels } from "../products";
import { outputBytes, outputOf, PANEL, panelBytes, rowsOf, stateOf, Tile } from "../record";
import { Job, KeyInterval } from "../records.gen";
import { tileOf } from "../scratch";
import { softmax as softmaxExact } from "../softmax";
import { F32 } from "../storage";
import { flagsAt, hasKeyBytes, meansAt } from "./head";
import { findBlock } from "./prepare";
import { accumulate, dot } from "./products";
import { areWithin, GREATEST, queryBytesOf, shortsOf } from "./quantize";
import { findExact, scaleScores, softmax, takeTops } from "./softmax";
import { Levels, levelsOf, panelsAt, spareOf, weightsOf, wholePanelBytes, wordsOf, Work, workOf } from "./work";

// Scores of the panel's queries and the mean of the keys; and which queries are for f32.
function takeLevels(job: Job, panel: usize, levels: Levels): void {
  const most = f32x4.splat(GREATEST / job.unit);
  for (let half: usize = 0; half < 32; half += 16) {
    let sum = f32x4.splat(0), all = i32x4.splat(-1), q = panel + half;
    for (let mean = meansAt(job), end = mean + (job.dim << 2); mean < end; mean += 4, q += 32) {
      const x = v128.load(q);
      all = v128.and(all, areWithin(x, most));
      sum = f32x4.add(sum, f32x4.mul(x, v128.load32_splat(mean)));
    }
    v128.store(levels.shift + half, sum);
    v128.store(levels.outside + half, v128.not(all));
  }
}

// The integers of a panel's queries.
function quantizePanel(job: Job, panel: usize): void {
  const levels = levelsOf(job, panel), words = wordsOf(job, panel);
  takeLevels(job, panel, levels);
  for (let half: usize = 0; half < 32; half += 16) {
    const x = panel + half, to = words + half, scales = levels.scale + half;
    if (hasKeyBytes(job)) queryBytesOf(x, job, to, scales, levels.zero + half);
    else shortsOf(x, 32, 0, job, to, scales);
  }
}

// The panel against the keys of the tile that it looks at, in f32. A value counts where its row sees it, whatever it is.
function attendExactly(job: Job, tile: Tile, work: Work, panel: usize, row: usize): void {
  const state = stateOf(job, panel), s = tile.s;
  if (tile.block != 0 && job.blockStorage != F32 && !work.isWide) {
    widen(job, tile);
    work.isWide = true;
  }
  const lanes = tile.lanes;
  if (!hasMasks(job, tile)) mask.seeAll(lanes, tile.groups << 2);
  else if (readMasks(job, tile, state, row) == mask.SKIP) return;
  dotPanels(job.splats, tile.k + tile.skipped * (job.dim << 2), panel, s, job.dim, tile.groups);
  finishScores(job, tile, state, true);
  softmaxExact(tile, state, job.unit);
  accumulateSeen(tile.seenValues(), job.valueDim, s, outputOf(job, panel), state.alpha, lanes);
}

// Rows whose lanes are all ones are taken from `from`, all else stays.
function takeRows(job: Job, panel: usize, from: usize, rows: usize): void {
  const begin = outputOf(job, 0), end = begin + outputBytes(job) + 64;
  for (let at = begin; at < end; at += 16) {
    const lanes = v128.load(rows + (at & 16));
    v128.store(panel + at, v128.bitselect(v128.load(from + at), v128.load(panel + at), lanes));
  }
}

// Whether scores are anything but products and bounds.

// @ts-ignore: decorator
@inline
function hasTerms(job: Job): bool {
  return job.softcap != 0 || job.bias != 0 || job.slopes != 0;
}

// Whether some row is for f32.

// @ts-ignore: decorator
@inline
function hasExact(levels: Levels): bool {
  return v128.any_true(v128.or(v128.load(levels.exact), v128.load(levels.exact, 16)));
}

// One panel, of the rows from `row` on, against those keys of a tile that some row sees.
function attend(job: Job, tile: Tile, work: Work, panel: usize, row: usize): void {
  const state = stateOf(job, panel), levels = levelsOf(job, panel), s = tile.s;
  if (!findSeen(tile, state, 4)) return;
  if (load<u32>(flagsAt(job) + (work.index << 2)) == 0) return attendExactly(job, tile, work, panel, row);
  let masked = hasMasks(job, tile);
  if (masked) {
    const kind = readMasks(job, tile, state, row);
    if (kind == mask.SKIP) return;
    masked = kind == mask.MIXED;
  }

  // S = K Q^T
  const keys = tile.groups << 2, padded = tile.begin + keys, isScaled = hasTerms(job);
  work.levels = levels;
  dot(job, tile, panel, work);

  // Capped, biased, masked.
  v128.store(levels.exact, v128.load(levels.outside));
  v128.store(levels.exact, v128.load(levels.outside, 16), 16);
  if (isScaled) scaleScores(s, keys, levels);
  masked = finishScores(job, tile, state, masked);
  const isWhole = tile.begin == tile.fullFrom && tile.fullTo == padded;
  if (isScaled || masked || !isWhole) takeTops(s, keys, levels);
  if (isScaled) findExact(s, keys, levels);

  // What f32 attends to begins with what there was before.
  const spare = spareOf(job, tile), isExact = hasExact(levels);
  if (isExact) memory.copy(spare, panel, panelBytes(job));
  softmax(job, tile, state, levels, weightsOf(work), isScaled);
  accumulate(job, tile, panel, work);
  if (!isExact) return;
  attendExactly(job, tile, work, spare, row);
  takeRows(job, panel, spare, levels.exact);
}

// The panels of a tile of rows against the keys from..to, tile by tile.
function attendKeys(job: Job, tile: Tile, work: Work, from: usize, to: usize): void {
  const stride = wholePanelBytes(job), tileKeys = job.tileKeys;
  for (let end = from; from < to; from = end) {
    const index = from / tileKeys;
    end = min(to, (index + 1) * tileKeys);
    findBlock(job, tile, from);
    setTile(job, tile, from, end);
    if (!mayMeet(job, tile)) continue;
    work.index = index;
    work.isWide = false;
    for (let row = tile.firstRow, panel = tile.panels; row < tile.endRow; row += PANEL, panel += stride) {
      attend(job, tile, work, panel, row);
    }
  }
}

// The key intervals of a block mask; all rows of a tile are in one block of queries.
function attendIntervals(job: Job, tile: Tile, work: Work): void {
  const list = intervalsOf(job, tile.firstRow), end = <usize>load<u32>(list, 4);
  for (let at = <usize>load<u32>(list); at < end; at += offsetof<KeyInterval>()) {
    tile.interval = at;
    const interval = changetype<KeyInterval>(at);
    attendKeys(job, tile, work, interval.from, interval.to);
  }
}

// The job: every query row against every key that it sees. `scratch` is tile memory of the thread that runs it.
export function forward(job: Job, scratch: usize): void {
  const rows = rowsOf(job), stride = wholePanelBytes(job), tile = tileOf(job, scratch);
  tile.s = scratch;
  tile.panels = scratch + panelsAt(job);
  tile.width = 32;
  tile.interval = 0;
  tile.isKept = false;
  const work = workOf(job, tile);
  for (let first: usize = 0, end: usize = 0; first < rows; first = end) {
    end = tileEnd(job, first);
    tile.firstRow = first;
    tile.endRow = end;
    for (let row = first, panel = tile.panels; row < end; row += PANEL, panel += stride) {
      beginPanel(job, panel, row, end);
      quantizePanel(job, panel);
    }
    if (job.keyIntervals != 0) attendIntervals(job, tile, work);
    else attendKeys(job, tile, work, 0, job.keys);
    for (let row = first, panel = tile.panels; row < end; row += PANEL, panel += stride) {
      endPanel(job, panel, row, end);
    }
  }
}
