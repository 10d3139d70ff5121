// FlashAttention, forward, as ../forward.ts, of few queries against rows that lie in arrays: these are brought a chunk at a
// time, values stay rows, and what a panel lacks in rows is not computed. Every sum has its terms in the order that it
// has there: the bits are the same.

import { dotFour } from "../blocks/float";
import { beginPanel, endPanel, setTile } from "../forward";
import * as mask from "../mask";
import { findSeen, finishScores, hasMasks, mayMeet, placeRows, readMasks } from "../panel";
import { accumulateColumns, accumulateSeen, dotPanels } from "../products";
import { outputBytes, outputOf, PANEL, panelBytes, rowsOf, State, stateOf, Tile } from "../record";
import { Job } from "../records.gen";
import { tileOf } from "../scratch";
import { isHarmless } from "../values";
import { accumulateRows, dotRows } from "./products";
import { softmaxOf } from "./softmax";

// Rows that are computed two at a time; of more the lanes of a panel are nearly full.
const FEW: usize = 6;

// o = diag(alpha) o + P V of the values that the panel looks at.
function accumulate(job: Job, tile: Tile, state: State, o: usize, rows: usize, masked: bool): void {
  const lanes = tile.lanes, s = tile.s, values = tile.seenValues();
  if (isHarmless(job, tile, values, masked)) {
    if (rows <= FEW) accumulateRows(values, outputBytes(job) >> 5, s, o, state.alpha, rows);
    else accumulateColumns(job.splats, values, s, o, state.address, state.alpha);
    return;
  }
  if (!masked) mask.seeAll(lanes + (tile.fullFrom - tile.begin), tile.fullTo - tile.fullFrom);
  accumulateSeen(values, job.valueDim, s, o, state.alpha, lanes);
}

// S = K Q^T. One query has keys as rows, others have them packed.
function dot(job: Job, tile: Tile, panel: usize, rows: usize): void {
  const s = tile.s, dim = job.dim, row = <usize>job.kRow, k = tile.k + tile.skipped * (row != 0 ? row : dim << 2);
  if (row != 0) dotRows(k, row, panel, s, dim, tile.count);
  else if (rows <= 4) dotFour<f32>(k, panel, s, dim, tile.groups);
  else dotPanels(job.splats, k, panel, s, dim, tile.groups);
}

// One panel, of `rows` rows from `row` on, against those keys of a tile that some row sees.
function attend(job: Job, tile: Tile, panel: usize, row: usize): void {
  const state = stateOf(job, panel), rows = tile.endRow - row;
  tile.width = rows <= 4 ? 16 : 32;
  if (!findSeen(tile, state, 4)) return;
  let masked = hasMasks(job, tile);
  if (masked) {
    const kind = readMasks(job, tile, state, row);
    if (kind == mask.SKIP) return;
    masked = kind == mask.MIXED;
  }
  dot(job, tile, panel, rows);

  masked = finishScores(job, tile, state, masked);

  // m = max(m, rowmax(S)), P = exp(S - m), l = alpha l + rowsum(P); then o.
  softmaxOf(rows, tile, state, job.unit);
  accumulate(job, tile, state, outputOf(job, panel), rows, masked);
}

// The panels against the keys of the job, tile by tile.
function attendKeys(job: Job, tile: Tile): void {
  const stride = panelBytes(job), tileKeys = job.tileKeys, keys = job.keys, row = <usize>job.kRow;
  for (let from: usize = 0, end: usize = 0; from < keys; from = end) {
    end = min(keys, from + tileKeys);
    setTile(job, tile, from, end);
    if (row != 0) tile.k = job.k + from * row;
    if (!mayMeet(job, tile)) continue;
    for (let row: usize = 0, panel = tile.panels; row < tile.endRow; row += PANEL, panel += stride) {
      attend(job, tile, panel, row);
    }
  }
}

// The job: every row, two panels at most, against a chunk of a part of the keys. The first of a part begins the panels, and
// where there is one part alone the last ends them; else combine() does.
export function forward(job: Job, scratch: usize): void {
  const rows = rowsOf(job), stride = panelBytes(job), tile = tileOf(job, scratch);
  tile.s = scratch;
  tile.panels = job.panels;
  tile.interval = 0;
  tile.isKept = false;
  tile.block = 0;
  tile.firstRow = 0;
  tile.endRow = rows;
  for (let row: usize = 0, panel = tile.panels; row < rows; row += PANEL, panel += stride) {
    if (job.begins != 0) beginPanel(job, panel, row, rows);
    else placeRows(job, stateOf(job, panel), row, rows);
  }
  attendKeys(job, tile);
  if (job.ends == 0) return;
  for (let row: usize = 0, panel = tile.panels; row < rows; row += PANEL, panel += stride) {
    endPanel(job, panel, row, rows);
  }
}
