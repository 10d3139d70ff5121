// FlashAttention, forward (Dao et al., arXiv 2205.14135, algorithm 1, in the loop order of
// arXiv 2307.08691): query tiles outside, key tiles inside, online softmax, one division at the end.
//
// A query tile holds panels of eight rows. Scores are computed transposed, s[keys][8 queries], so
// that the softmax goes down the lanes and its weights are at once the second product's operand:
// nothing is transposed between the two products, and o[dim][8 queries] becomes rows again
// only once, at the end. What one panel touches per key tile (s, its queries, its o) stays in L1,
// the tile's keys and values in L2.

import { blocksOf, bytesOfFour, depthOf } from "./blocks/layout";
import { widen } from "./blocks/widen";
import { SCORED, WIDE } from "./build";
import { combineSplits, endPart, endParts } from "./combine";
import { accumulateRows, attendOne, dotRows, finishQuery, isDecoding, isPlain, prepareQueries } from "./decode";
import * as mask from "./mask";
import {
  findSeen, finishScores, hasMasks, intervalsOf, mayMeet, packPanel, placeRow, readMasks, tileEnd,
  unpackPanel,
} from "./panel";
import { accumulateColumns, accumulateSeen, dotPanels } from "./products";
import {
  fourRowsOf, outputBytes, outputOf, PANEL, panelBytes, queriesOf, rowOf, rowsOf, State, stateOf, Tile,
} from "./record";
import { Job, KeyInterval, PART_KEYS } from "./records.gen";
import { beginKeys, beginRows, beginScores, changeScores, findSeenKeys, maskByFunction } from "./scored/attend";
import { panelsAt, tileOf, workAt } from "./scratch";
import { firstMaximum, firstSum, logOfSum } from "./sinks";
import { softmax } from "./softmax";
import { F16, F32 } from "./storage";
import { isHarmless } from "./values";
import { attendPair } from "./wide/attend";

// Queries of one panel: q[dim][8] times scale, o = 0, and the rows' state. Rows past the last repeat it, so
// that they neither widen the panel's bounds nor need a case of their own.
export function beginPanel(job: Job, panel: usize, row: usize, end: usize): void {
  const queries = queriesOf(job), group = job.group, state = stateOf(job, panel);
  const low = fourRowsOf(queries, row, end, group), high = fourRowsOf(queries, row + 4, end, group);
  packPanel(queries, panel, job.dim, job.scale, low, high);
  for (let lane: usize = 0; lane < PANEL; lane++) {
    const at = state.lane(lane), placed = min(row + lane, end - 1);
    store<f32>(at.m, firstMaximum(job, placed));
    store<f32>(at.l, firstSum(job, placed));
    placeRow(job, at, placed);
  }
  memory.fill(outputOf(job, panel), 0, outputBytes(job));
}

// o = diag(alpha) o + P V of the values that the panel looks at.
export function accumulate(job: Job, tile: Tile, panel: usize, masked: bool): void {
  const o = outputOf(job, panel), state = stateOf(job, panel), lanes = tile.lanes, values = tile.seenValues();
  const harmless = isHarmless(job, tile, values, masked);
  if (!harmless && !masked) mask.seeAll(lanes + (tile.fullFrom - tile.begin), tile.fullTo - tile.fullFrom);
  if (isDecoding(job)) accumulateRows(job, tile, panel, harmless ? 0 : lanes);
  else if (harmless) accumulateColumns(job.splats, values, tile.s, o, state.address, state.alpha);
  else accumulateSeen(values, job.valueDim, tile.s, o, state.alpha, lanes);
}

// One panel, of the rows from `row` on, against those keys of a tile that some row sees.
function attend(job: Job, tile: Tile, panel: usize, row: usize): void {
  const state = stateOf(job, panel);
  if (SCORED ? !findSeenKeys(job, tile, state, row, 4) : !findSeen(tile, state, 4)) return;
  if (isPlain(job, tile)) {
    attendOne(job, tile, panel);
    return;
  }
  let masked = hasMasks(job, tile);
  if (masked) {
    const kind = readMasks(job, tile, state, row);
    if (kind == mask.SKIP) return;
    masked = kind == mask.MIXED;
  }

  // S = K Q^T
  if (isDecoding(job)) dotRows(job, tile, panel);
  else dotPanels(job.splats, tile.k + tile.skipped * (job.dim << 2), panel, tile.s, job.dim, tile.groups);

  if (SCORED) masked = changeScores(job, tile, row, masked);
  masked = finishScores(job, tile, state, masked);
  if (SCORED) masked = maskByFunction(job, tile, row, masked);

  // m = max(m, rowmax(S)), P = exp(S - m), l = alpha l + rowsum(P); then o.
  softmax(tile, state, job.unit);
  accumulate(job, tile, panel, masked);
}

// out = o / l, lse = ln(2) unit m + ln(l); a row that saw nothing gives 0 and -inf.
export function endPanel(job: Job, panel: usize, row: usize, end: usize): void {
  const state = stateOf(job, panel), one = f32x4.splat(1);
  for (let lane: usize = 0; lane < 32; lane += 16) {
    const l = v128.load(state.l + lane);
    v128.store(state.alpha + lane, v128.andnot(f32x4.div(one, l), f32x4.eq(l, f32x4.splat(0))));
  }
  unpackPanel(job, outputOf(job, panel), state.alpha, job.valueDim, row, end);
  if (job.lse != 0) storeLse(job, state, row, end);
}

function storeLse(job: Job, state: State, row: usize, end: usize): void {
  for (let lane: usize = 0; lane < min(PANEL, end - row); lane++) {
    const one = state.lane(lane), at = rowOf(0, job.lsePosition, job.lseHead, row + lane, job.group);
    const sum = logOfSum(job, row + lane, load<f32>(one.m), load<f32>(one.l)), rounded = <f32>sum;
    store<f32>(job.lse + at, rounded);
    // Where gradients are asked for, also what rounding took.
    if (job.lseRest != 0) store<f32>(job.lseRest + at, <f32>(sum - rounded));
  }
}

// Says where the tile of the keys from..to is: among packed keys and values, or in a token block.
export function setTile(job: Job, tile: Tile, from: usize, to: usize): void {
  const first = tile.beginAt(from), dim = job.dim, block = tile.block;
  tile.from = from;
  tile.to = to;
  tile.first = first;
  tile.keys = (to - first + 3) & ~3;
  tile.finite = 0;
  if (block == 0) {
    tile.k = job.k + first * (dim << 2);
    tile.v = job.v + first * job.vKey;
    tile.row = job.vKey;
    tile.columns = job.vColumns;
    return;
  }
  const layout = blocksOf(job), storage = layout.storage, four = bytesOfFour(storage);
  const skipped = first - tile.blockFirst, scales = block + layout.scales;
  tile.k = block + (skipped >> 2) * depthOf(storage, dim) * four;
  tile.v = block + layout.values + skipped * four;
  tile.row = 16;
  tile.columns = layout.tokens * <i32>four;
  tile.scales = storage == F16 ? scales : scales + (skipped << 2);
}

// The panels of a tile of rows against the keys from..to, tile by tile.
function attendKeys(job: Job, tile: Tile, from: usize, to: usize): void {
  const stride = panelBytes(job), tileKeys = job.tileKeys;
  for (let end = from; from < to; from = end) {
    const part = from / PART_KEYS;
    end = min(min(to, tile.beginAt(from) + tileKeys), (part + 1) * PART_KEYS);
    if (part != tile.part) endPart(job, tile);
    tile.part = part;
    setTile(job, tile, from, end);
    if (!mayMeet(job, tile) || (SCORED && !beginKeys(job, tile))) continue;
    if (tile.block != 0 && !isDecoding(job) && job.blockStorage != F32) widen(job, tile);
    for (let row = tile.firstRow, panel = tile.panels; row < tile.endRow; row += PANEL, panel += stride) {
      if (WIDE && row + PANEL < tile.endRow && attendPair(job, tile, panel)) {
        row += PANEL;
        panel += stride;
      } else attend(job, tile, panel, row);
    }
  }
}

// The token blocks of a cache, from the first key on.
function attendBlocks(job: Job, tile: Tile): void {
  const keys = job.keys, tokens = <usize>job.blockTokens, kept = <usize>job.kept;
  for (let first: usize = 0, at = job.tokenBlocks; first < keys; first += tokens, at += 4) {
    const end = min(first + tokens, keys), others = min(max(first, kept), end);
    tile.block = <usize>load<u32>(at);
    tile.blockFirst = first;
    tile.isKept = true;
    attendKeys(job, tile, first, others);
    tile.isKept = false;
    attendKeys(job, tile, others, end);
  }
}

// The key intervals of a block mask; all rows of a tile are in one block of queries.
function attendIntervals(job: Job, tile: Tile): void {
  const list = intervalsOf(job, tile.firstRow), end = <usize>load<u32>(list, 4);
  for (let at = <usize>load<u32>(list); at < end; at += offsetof<KeyInterval>()) {
    tile.interval = at;
    const interval = changetype<KeyInterval>(at);
    attendKeys(job, tile, interval.from, interval.to);
  }
}

// The job: every query row against every key that it sees. `scratch` is tile memory of the thread
// that runs it, of scratchBytes(). Where the record has a place for them, the panels are built there
// and left as they are, for combine().
export function forward(job: Job, scratch: usize): void {
  const rows = rowsOf(job), stride = panelBytes(job), kept = job.panels, tile = tileOf(job, scratch);
  tile.s = scratch;
  tile.panels = kept == 0 ? scratch + panelsAt(job) : kept;
  tile.width = isDecoding(job) && rows <= 4 ? 16 : 32;
  tile.interval = tile.block = 0;
  tile.isKept = false;
  if (SCORED) {
    tile.work = scratch + workAt(job);
    beginScores(job, tile);
  }
  for (let first: usize = 0, end: usize = 0; first < rows; first = end) {
    end = tileEnd(job, first);
    tile.firstRow = first;
    tile.endRow = end;
    tile.part = 0;
    tile.hasSums = false;
    if (SCORED) beginRows(job, tile);
    for (let row = first, panel = tile.panels; row < end; row += PANEL, panel += stride) {
      beginPanel(job, panel, row, end);
    }
    if (isDecoding(job)) prepareQueries(job, tile, tile.panels);
    if (job.tokenBlocks != 0) attendBlocks(job, tile);
    else if (job.keyIntervals != 0) attendIntervals(job, tile);
    else attendKeys(job, tile, 0, job.keys);
    if (tile.hasSums) endParts(job, tile);
    finishQuery(job, tile.panels);
    if (kept != 0) continue;
    for (let row = first, panel = tile.panels; row < end; row += PANEL, panel += stride) {
      endPanel(job, panel, row, end);
    }
  }
}

// The end of a job that was split over keys: `splits` times the panels of one tile, one behind the other, and room
// for one more.
export function combine(job: Job, splits: usize): void {
  const rows = rowsOf(job), stride = panelBytes(job), one = ((rows + PANEL - 1) / PANEL) * stride;
  for (let row: usize = 0, panel = job.panels; row < rows; row += PANEL, panel += stride) {
    combineSplits(job, panel, splits, one);
    endPanel(job, panel, row, rows);
  }
}
