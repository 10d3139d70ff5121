// Decoding: few queries of a head against blocks of tokens, which are read as they are stored. One at a time, its
// scores and weights side by side, or four floats at once among those of a panel.

import {
  accumulateFour, accumulateOne, dotFour, dotOne, F16_WEIGHT, fromLane, Query, QUERY_HEADER, queryFactor, splat, toLane,
} from "./blocks/float";
import {
  accumulateOneByte, accumulateOneNibble, dotOneByte, dotOneNibble, quantizeQuery, quantizeWeights,
} from "./blocks/integer";
import { blocksOf, bytesOfFour, depthOf, INT4, INT8, keyScaleBytes, scaleStep } from "./blocks/layout";
import { wideBytes, wideOf } from "./blocks/widen";
import { SCORED } from "./build";
import * as mask from "./mask";
import { Columns, outputBytes, outputOf, PANEL, rowsOf, stateOf, Tile } from "./record";
import { DECODE_FOUR, DECODE_ONE, Job } from "./records.gen";
import { softmaxOne } from "./softmax";
import { BF16, bf16, F16, f16, F16_BIAS, F32, finiteF16, loadOne } from "./storage";
import { finiteValues } from "./values";

// What it has in tile memory: scores of one query side by side with scratch of 32 numbers behind them; its weights,
// four times each, or in pairs; and of each query its numbers likewise.

const ROW_SCRATCH: usize = 128;

// @ts-ignore: decorator
@inline
function rowBytes(job: Job): usize {
  return (((job.tileKeys + 31) & ~31) << 2) + ROW_SCRATCH;
}

// @ts-ignore: decorator
@inline
function weightBytes(job: Job): usize {
  return ((job.tileKeys + 15) & ~15) << 4;
}

// @ts-ignore: decorator
@inline
function queryBytes(job: Job): usize {
  return (((job.dim + 7) & ~7) << 4) + QUERY_HEADER;
}

export function decodeBytes(job: Job): usize {
  if (SCORED || job.tokenBlocks == 0) return 0;
  const queries: usize = job.blockStorage >= INT8 ? PANEL : 1;
  return rowBytes(job) + weightBytes(job) + queries * queryBytes(job);
}

// Scores or weights of one query side by side.
function rowAt(job: Job, tile: Tile): usize {
  return wideOf(job, tile) + ((wideBytes(job) + 15) & ~15);
}

// Scratch behind a row.

// @ts-ignore: decorator
@inline
function rowScratchAt(job: Job, row: usize): usize {
  return row + rowBytes(job) - ROW_SCRATCH;
}

function weightsAt(job: Job, tile: Tile): usize {
  return rowAt(job, tile) + rowBytes(job);
}

function queryAt(job: Job, tile: Tile, query: usize): Query {
  return changetype<Query>(weightsAt(job, tile) + weightBytes(job) + query * queryBytes(job));
}

// Where the keys that are looked at begin, and the values.

// @ts-ignore: decorator
@inline
function keysAt(job: Job, tile: Tile): usize {
  const storage = job.blockStorage;
  return tile.k + (tile.skipped >> 2) * depthOf(storage, job.dim) * bytesOfFour(storage);
}

// @ts-ignore: decorator
@inline
function valuesAt(job: Job, tile: Tile, skipped: usize): usize {
  return tile.v + skipped * bytesOfFour(job.blockStorage);
}

// `count` values from there on.
function valuesFrom(job: Job, tile: Tile, skipped: usize, count: usize): Columns {
  const values = tile.summed;
  values.at = valuesAt(job, tile, skipped);
  values.columns = tile.columns;
  values.count = count;
  return values;
}

// Whether few queries read blocks as they are stored: those of functions never do.

// @ts-ignore: decorator
@inline
export function isDecoding(job: Job): bool {
  return !SCORED && job.decode != 0;
}

// The queries of a panel as their kernels read them.
export function prepareQueries(job: Job, tile: Tile, panel: usize): void {
  const dim = job.dim, mean = job.means, storage = job.blockStorage;
  if (storage != INT8 && storage != INT4) {
    if (job.decode != DECODE_ONE) return;
    const factor: f32 = storage == F16 ? queryFactor(panel, dim) : 1, query = queryAt(job, tile, 0);
    query.factor = F16_BIAS / factor;
    splat(panel, 32, dim, factor, storage != F32, query.numbers);
    return;
  }
  for (let row: usize = 0; row < rowsOf(job); row++) {
    const q = panel + (row << 2), query = queryAt(job, tile, row);
    let shift: f32 = 0;
    if (mean != 0) {
      for (let d: usize = 0; d < dim; d++) shift += f32.load(q + (d << 5)) * f32.load(mean + (d << 2));
    }
    query.factor = quantizeQuery(q, 32, dim, query.numbers, storage == INT8);
    query.shift = shift;
  }
}

// Whether values of a block, of which some queries do not see all, can be multiplied by zero: of the storages
// that hold infinities and NaN. f16 is read as if it had none.
export function areFinite(job: Job, tile: Tile): bool {
  const storage = job.blockStorage, v = tile.v, dim = job.valueDim, columns = tile.columns;
  const from = tile.skipped, to = from + tile.count;
  if (storage == F32) return finiteValues<f32>(v, 16, columns, dim, from, to);
  return storage != BF16 || finiteValues<bf16>(v, 8, columns, dim, from, to);
}

// Whether a block of f16 has an infinity or a NaN.

// @ts-ignore: decorator
@inline
function hasSpecials(job: Job, tile: Tile): bool {
  return job.blockStorage == F16 && load<u32>(tile.scales) != 0;
}

// @ts-ignore: decorator
@inline
function isSpecial(at: usize): bool {
  return (load<u16>(at) & 0x7c00) == 0x7c00;
}

// Scores of keys that are not finite f16, which the kernels take for finite ones: an exact product each.
function fixScores(job: Job, tile: Tile, panel: usize, query: usize, row: usize): void {
  const dim = job.dim, k = keysAt(job, tile), keys = tile.groups << 2;
  for (let key: usize = 0; key < keys; key++) {
    const first = k + (key & ~3) * dim * 2 + ((key & 3) << 1);
    let some = false, sum: f32 = 0;
    for (let d: usize = 0; d < dim; d++) {
      const at = first + (d << 3);
      some = some || isSpecial(at);
      sum += loadOne<f16>(at) * f32.load(panel + (d << 5) + (query << 2));
    }
    if (some) f32.store(row + (key << 2), sum);
  }
}

// The same among the scores of a panel, one query after the other.
function fixPanelScores(job: Job, tile: Tile, panel: usize): void {
  const row = rowAt(job, tile), keys = tile.groups << 2;
  for (let query: usize = 0; query < rowsOf(job); query++) {
    const lane = tile.s + (query << 2);
    fromLane(lane, row, keys);
    fixScores(job, tile, panel, query, row);
    toLane(row, lane, keys);
  }
}

// Adds to o what the kernels lack of values that are not finite f16 and have a weight, row[keys] `step` bytes
// apart: o, whose numbers are `apart` bytes apart, is infinite or NaN then.
function fixValues(job: Job, tile: Tile, weights: usize, step: usize, o: usize, apart: usize): void {
  const v = valuesAt(job, tile, tile.skipped), keys = tile.count;
  for (let column: usize = 0; column < job.valueDim; column++) {
    const first = v + (column >> 2) * tile.columns + ((column & 3) << 1);
    for (let key: usize = 0; key < keys; key++) {
      const at = first + (key << 3), weight = f32.load(weights + key * step);
      if (!isSpecial(at) || weight == 0) continue;
      f32.store(o + column * apart, f32.load(o + column * apart) + weight * loadOne<f16>(at));
    }
  }
}

// A copy of the values, as they are stored, with zeros where a query sees none.
function zeroUnseen(job: Job, tile: Tile, query: usize, lanes: usize): Columns {
  const bytes = bytesOfFour(job.blockStorage), keys = tile.count, copy = wideOf(job, tile), values = tile.summed;
  let v = values.at, to = copy;
  for (let column: usize = 0; column < job.valueDim; column += 4, v += values.columns, to += keys * bytes) {
    memory.copy(to, v, keys * bytes);
    for (let key: usize = 0; key < keys; key++) {
      if (!mask.isSeen(lanes, key, query)) memory.fill(to + key * bytes, 0, bytes);
    }
  }
  values.at = copy;
  values.columns = keys * bytes;
  return values;
}

// Scores of one query, side by side.
function dotRow(job: Job, tile: Tile, panel: usize, index: usize): usize {
  const dim = job.dim, row = rowAt(job, tile), groups = tile.groups, layout = blocksOf(job), storage = layout.storage;
  const query = queryAt(job, tile, index), k = keysAt(job, tile), scales = tile.scales + (tile.skipped << 2);
  if (storage == INT8) dotOneByte(layout, k, query, scales, row, groups);
  else if (storage == INT4) dotOneNibble(layout, k, query, scales, row, groups);
  else if (storage == F16) {
    dotOne<finiteF16>(k, query.numbers, row, dim, groups, query.factor);
    if (hasSpecials(job, tile)) fixScores(job, tile, panel, index, row);
  } else if (storage == BF16) dotOne<bf16>(k, query.numbers, row, dim, groups, 1);
  else dotOne<f32>(k, query.numbers, row, dim, groups, 1);
  return row;
}

// What is missing to a multiple of eight weighs nothing.
function clearBehind(row: usize, keys: usize): void {
  for (let key = keys; key & 7; key++) f32.store(row + (key << 2), 0);
}

// Weights of a row of four-bit values, of which eight keys share a lane: the four before have none.
function startAtEight(job: Job, tile: Tile, row: usize): void {
  const keys = tile.count;
  memory.copy(row + 16, row, keys << 2);
  v128.store(row, f32x4.splat(0));
  clearBehind(row, keys + 4);
  valuesFrom(job, tile, tile.skipped - 4, keys + 4);
}

// o of one query takes in the values, by its row of weights. Where it is the only one, its o is side by side too.
// `lanes` says who sees what, where values must not be multiplied by zero; else it is 0.
function accumulateRow(job: Job, tile: Tile, query: usize, panel: usize, alpha: f32, lanes: usize): void {
  const layout = blocksOf(job), storage = layout.storage, isOnly = job.decode == DECODE_ONE;
  const row = rowAt(job, tile), weights = weightsAt(job, tile), step = scaleStep(layout), keys = tile.count;
  const o = outputOf(job, panel) + (query << 2), output = tile.output;
  output.o = o;
  output.columns = outputBytes(job) >> 5;
  output.alpha = alpha;
  output.scratch = rowScratchAt(job, row);
  output.isOnly = isOnly;
  let v = valuesFrom(job, tile, tile.skipped, keys), scales = tile.scales + keyScaleBytes(layout) + (tile.skipped << 2);
  if (storage == INT8) {
    accumulateOneByte(v, weights, quantizeWeights(row, scales, keys, weights, true), output);
    return;
  }
  if (storage == INT4) {
    if (tile.skipped & 4) {
      startAtEight(job, tile, row);
      scales -= 16;
    }
    accumulateOneNibble(v, row, weights, scales, step, output);
    return;
  }
  if (lanes != 0) v = zeroUnseen(job, tile, query, lanes);
  splat(row, 4, keys, storage == F16 ? F16_WEIGHT : 1, storage != F32, weights);
  if (storage == F16) {
    accumulateOne<finiteF16>(v, weights, output);
    if (hasSpecials(job, tile)) fixValues(job, tile, row, 4, o, isOnly ? 4 : 32);
  } else if (storage == BF16) accumulateOne<bf16>(v, weights, output);
  else accumulateOne<f32>(v, weights, output);
}

// Scores of the queries, among those of a whole panel.
export function dotRows(job: Job, tile: Tile, panel: usize): void {
  const groups = tile.groups, s = tile.s;
  if (job.decode != DECODE_FOUR) {
    for (let query: usize = 0; query < rowsOf(job); query++) {
      toLane(dotRow(job, tile, panel, query), s + (query << 2), groups << 2);
    }
    return;
  }
  const dim = job.dim, k = keysAt(job, tile), storage = job.blockStorage;
  if (storage == F16) {
    dotFour<finiteF16>(k, panel, s, dim, groups);
    if (hasSpecials(job, tile)) fixPanelScores(job, tile, panel);
  } else if (storage == BF16) dotFour<bf16>(k, panel, s, dim, groups);
  else dotFour<f32>(k, panel, s, dim, groups);
}

// o of four queries takes in the values.
function accumulateFourRows(job: Job, tile: Tile, panel: usize, lanes: usize): void {
  const storage = job.blockStorage, p = tile.s, keys = tile.count;
  const o = outputOf(job, panel), end = o + outputBytes(job);
  const v = valuesFrom(job, tile, tile.skipped, keys), alpha = stateOf(job, panel).alpha;
  v.skipped = tile.skipped;
  if (storage == F16) accumulateFour<finiteF16>(v, p, o, end, alpha, 0);
  else if (storage == BF16) accumulateFour<bf16>(v, p, o, end, alpha, lanes);
  else accumulateFour<f32>(v, p, o, end, alpha, lanes);
  if (!hasSpecials(job, tile)) return;
  for (let lane: usize = 0; lane < rowsOf(job) << 2; lane += 4) fixValues(job, tile, p + lane, 32, o + lane, 32);
}

// o of the queries takes in the values, by the weights of a panel; `lanes` as above.
export function accumulateRows(job: Job, tile: Tile, panel: usize, lanes: usize): void {
  if (job.decode == DECODE_FOUR) {
    accumulateFourRows(job, tile, panel, lanes);
    return;
  }
  const row = rowAt(job, tile), keys = tile.count, alpha = stateOf(job, panel).alpha;
  for (let query: usize = 0; query < rowsOf(job); query++) {
    const lane = query << 2;
    fromLane(tile.s + lane, row, keys);
    clearBehind(row, keys);
    accumulateRow(job, tile, query, panel, f32.load(alpha + lane), lanes);
  }
}

// Whether the query is the only one, and its scores are nothing but scaled products of keys that it sees all.
export function isPlain(job: Job, tile: Tile): bool {
  return !SCORED && job.decode == DECODE_ONE && job.softcap == 0 && (job.slopes | job.bias | job.mask) == 0 &&
    tile.fullFrom == tile.begin && tile.fullTo == tile.end;
}

// The one query then: its scores never go to a panel.
export function attendOne(job: Job, tile: Tile, panel: usize): void {
  const row = dotRow(job, tile, panel, 0), scratch = rowScratchAt(job, row);
  const alpha = softmaxOne(tile, row, stateOf(job, panel), scratch, job.unit);
  accumulateRow(job, tile, 0, panel, alpha, 0);
}

// o of the only query from numbers side by side to a lane of its panel.
export function finishQuery(job: Job, panel: usize): void {
  if (SCORED || job.decode != DECODE_ONE) return;
  const o = outputOf(job, panel);
  toLane(o, o, job.valueDim);
}
