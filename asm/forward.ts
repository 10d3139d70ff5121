// FlashAttention, forward (Dao et al., arXiv 2205.14135, algorithm 1, in the loop order of
// arXiv 2307.08691): query tiles outside, key tiles inside, online softmax, one division at the end.
//
// A query tile holds panels of eight rows. Scores are computed transposed, s[keys][8 queries], so
// that the softmax goes down the lanes and its weights are at once the second product's operand:
// nothing is transposed between the two products, and o[dim][8 queries] is turned back into rows
// only once, at the end. What one panel touches per key tile (s, its queries, its o) stays in L1,
// the tile's keys and values in L2.

import { fma } from "./fma";
import { Job, KeyInterval, PART_KEYS } from "./job.gen";
import { PANEL } from "./layout";
import * as mask from "./mask";
import { mergePanel, settlePanel } from "./merge";
import {
  accumulateFour, accumulateOne, dotFour, dotOne, gather, HALF_WEIGHT, queryFactor, splat, spread,
} from "./few";
import { bytesOfFour, depthOf, INT4, INT8, scalesOf, widenTile } from "./pages";
import {
  ALPHA, biasScores, BIAS_ROWS, BOUNDS, capScores, clipBounds, L, largest, LN_2, LOG2_E, M, outputBytes, packPanel,
  panelBytes, placeRow, readMasks, rowOf, rowsOf, SHIFT, smallest, TILE_BOUNDS, TILE_COLUMNS, TILE_FINITE,
  TILE_FIRST, TILE_K, TILE_KEYS, TILE_LANES, TILE_SCALES, TILE_STORED, TILE_V, tileBytes, tileEnd, unpackPanel, visitsOf,
} from "./panel";
import { accumulateColumns, dotPanels, ONES, RUN } from "./products";
import {
  accumulateOneByte, accumulateOneNibble, dotOneByte, dotOneNibble, quantizeQuery, quantizeWeights,
} from "./quantized";
import { softmax, softmaxOne } from "./softmax";
import { BF16, brain, F16, F32, finiteHalf, HALF_BIAS, half, loadOne } from "./storage";

// Bytes of a tile of a cache's keys and values in f32, where they are stored in another way, or of a copy of
// its values.
function wideBytes(job: Job): usize {
  if (job.pages == 0) return 0;
  const keys: usize = job.pageStorage == F32 ? 0 : job.dim << 2, values = outputBytes(job) >> 3;
  return job.tileKeys * (keys + values);
}

// What the few queries of decoding take beside: scores of one of them side by side with scratch of 32
// numbers behind them; its weights, four times each, or in pairs; and of each query its numbers likewise, its
// scale and its product with the mean of the keys.

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
function queryStride(job: Job): usize {
  return (((job.dim + 7) & ~7) << 4) + 16;
}

function fewBytes(job: Job): usize {
  if (job.pages == 0) return 0;
  const queries: usize = job.pageStorage >= INT8 ? PANEL : 1;
  return rowBytes(job) + weightBytes(job) + queries * queryStride(job);
}

// A tile of a cache in f32, or a copy of its values.
function wideAt(job: Job, tile: usize): usize {
  return tile - (job.tileKeys << 5) + tileBytes(job.tileKeys);
}

// Scores or weights of one query side by side.
function rowAt(job: Job, tile: usize): usize {
  return wideAt(job, tile) + ((wideBytes(job) + 15) & ~15);
}

function weightsAt(job: Job, tile: usize): usize {
  return rowAt(job, tile) + rowBytes(job);
}

// One of few queries: its scale and shift, then its numbers.
function queryAt(job: Job, tile: usize, query: usize): usize {
  return weightsAt(job, tile) + weightBytes(job) + query * queryStride(job);
}

// Where the panels begin in tile memory.
function panelsAt(job: Job): usize {
  return tileBytes(job.tileKeys) + ((wideBytes(job) + 15) & ~15) + fewBytes(job);
}

// Bytes of o, m and l of a panel.

// @ts-ignore: decorator
@inline
function sumBytes(job: Job): usize {
  return outputBytes(job) + ALPHA;
}

// Of each panel, what the parts before the one under way have summed to, and what rounding took from that: where
// there is more than one part.
function sumsBytes(job: Job): usize {
  return job.keys > PART_KEYS ? (job.tileRows / PANEL) * 2 * sumBytes(job) : 0;
}

// Bytes of tile memory that the job needs, at 16-byte alignment.
export function scratchBytes(job: Job): usize {
  return (job.tileRows / PANEL) * panelBytes(job) + panelsAt(job) + sumsBytes(job);
}

// The sink of a row; minus infinity where there is none.
function sinkOf(job: Job, row: usize): f32 {
  const sinks = job.sinks;
  return sinks == 0 ? -Infinity : load<f32>(sinks + ((row % job.group) << 2));
}

// A sink as a score, and the sum of a row that has seen nothing but it. What rounding takes from the score comes
// back in the sum, unless it is so much that a sum would not hold it.

// @ts-ignore: decorator
@inline
function sinkScore(job: Job, sink: f32): f32 {
  return <f32>(<f64>sink * LOG2_E / <f64>job.unit);
}

function sinkSum(job: Job, sink: f32): f32 {
  if (sink == -Infinity) return 0;
  const taken = <f64>sink - <f64>sinkScore(job, sink) * <f64>job.unit * LN_2;
  return abs(taken) > 1 ? 1 : <f32>NativeMath.exp(taken);
}

// The state of one row that has seen nothing yet but its sink, which has weight and no value.
function beginRow(job: Job, state: usize, row: usize): void {
  const sink = sinkOf(job, row);
  store<f32>(state, sinkScore(job, sink), M);
  store<f32>(state, sinkSum(job, sink), L);
  placeRow(job, state, row);
}

// Queries of one panel: q[dim][8] times scale, and the rows' state. Rows past the last repeat it, so
// that they neither widen the panel's bounds nor need a case of their own.
function beginPanel(job: Job, panel: usize, firstRow: usize, rows: usize): void {
  const dim = job.dim, o = panel + (dim << 5), oBytes = outputBytes(job), state = o + oBytes;
  packPanel(
    job.qStorage, job.q, job.qPosition, job.qHead, job.qElement,
    panel, dim, job.scale, firstRow, rows, job.group,
  );
  for (let lane: usize = 0; lane < PANEL; lane++) {
    beginRow(job, state + (lane << 2), min(firstRow + lane, rows - 1));
  }
  memory.fill(o, 0, oBytes);
}

// o += v^T p for keys that some query of the panel must not see and whose values are not all
// finite: 0 * NaN would leave a trace. The same sums as accumulateColumns(), value by value.
function accumulateSeen(
  v: usize, row: usize, columns: usize, dim: usize, p: usize, o: usize, alpha: usize,
  lanes: usize, count: usize,
): void {
  for (let column: usize = 0; column < dim; column++) {
    const values = v + (column >> 2) * columns + ((column & 3) << 2);
    for (let key: usize = 0, by = alpha; key < count; by = ONES) {
      let c0 = f32x4.splat(0), c1 = c0;
      for (const end = min(key + RUN, count); key < end; key++) {
        const x = v128.load_splat<f32>(values + key * row), weights = p + (key << 5);
        c0 = fma(v128.and(x, mask.seenLow(lanes, key)), v128.load(weights), c0);
        c1 = fma(v128.and(x, mask.seenHigh(lanes, key)), v128.load(weights, 16), c1);
      }
      v128.store(o, fma(v128.load(o), v128.load(by), c0));
      v128.store(o, fma(v128.load(o, 16), v128.load(by, 16), c1), 16);
    }
    o += 32;
  }
}

// Where the keys of a tile are from the key `skipped` on, and the values.

// @ts-ignore: decorator
@inline
function keysAt(job: Job, tile: usize, skipped: usize): usize {
  const storage = load<u32>(tile, TILE_STORED) == 0 ? F32 : job.pageStorage;
  const four = bytesOfFour(storage), depth = depthOf(storage, job.dim);
  return <usize>load<u32>(tile, TILE_K) + (skipped >> 2) * depth * four;
}

// @ts-ignore: decorator
@inline
function valuesAt(job: Job, tile: usize, skipped: usize): usize {
  const storage = load<u32>(tile, TILE_STORED) == 0 ? F32 : job.pageStorage;
  return <usize>load<u32>(tile, TILE_V) + skipped * bytesOfFour(storage);
}

// Whether values of a page, of which some queries do not see all, can be multiplied by zero: of the storages
// that hold infinities and NaN. f16 is read as if it had none.
function fewAreFinite(job: Job, tile: usize, from: usize, to: usize): bool {
  const storage = job.pageStorage, v = <usize>load<u32>(tile, TILE_V), dim = job.valueDim;
  const columns = <usize>load<u32>(tile, TILE_COLUMNS);
  if (storage == F32) return mask.finiteValues<f32>(v, 16, columns, dim, from, to);
  return storage != BF16 || mask.finiteValues<brain>(v, 8, columns, dim, from, to);
}

// Whether a block of f16 has an infinity or a NaN.

// @ts-ignore: decorator
@inline
function hasSpecials(job: Job, tile: usize): bool {
  return job.pageStorage == F16 && load<u32>(<usize>load<u32>(tile, TILE_SCALES)) != 0;
}

// Scores of keys that are not finite f16, which the kernels take for finite ones: an exact product each.
function mendScores(job: Job, panel: usize, tile: usize, query: usize, skipped: usize, keys: usize, row: usize): void {
  const dim = job.dim, k = keysAt(job, tile, skipped);
  for (let key: usize = 0; key < keys; key++) {
    const first = k + (key & ~3) * dim * 2 + ((key & 3) << 1);
    let isSpecial = false, sum: f32 = 0;
    for (let d: usize = 0; d < dim; d++) {
      const at = first + (d << 3);
      isSpecial = isSpecial || (load<u16>(at) & 0x7c00) == 0x7c00;
      sum += loadOne<half>(at) * f32.load(panel + (d << 5) + (query << 2));
    }
    if (isSpecial) f32.store(row + (key << 2), sum);
  }
}

// Adds to o what the kernels lack of values that are not finite f16 and have a weight, row[keys] `step` bytes
// apart: o is infinite or NaN then.
function mendValues(
  job: Job, tile: usize, skipped: usize, keys: usize, weights: usize, step: usize, o: usize, apart: usize,
): void {
  const v = valuesAt(job, tile, skipped), stride = <usize>load<u32>(tile, TILE_COLUMNS);
  for (let column: usize = 0; column < job.valueDim; column++) {
    const first = v + (column >> 2) * stride + ((column & 3) << 1);
    for (let key: usize = 0; key < keys; key++) {
      const at = first + (key << 3), weight = f32.load(weights + key * step);
      if ((load<u16>(at) & 0x7c00) != 0x7c00 || weight == 0) continue;
      f32.store(o + column * apart, f32.load(o + column * apart) + weight * loadOne<half>(at));
    }
  }
}

// The values of one of few queries with zeros where it sees none, where they are stored as they were.
function hideValues(job: Job, tile: usize, query: usize, skipped: usize, keys: usize, lanes: usize): usize {
  const bytes = bytesOfFour(job.pageStorage), stride = <usize>load<u32>(tile, TILE_COLUMNS);
  const hidden = wideAt(job, tile);
  let v = valuesAt(job, tile, skipped), to = hidden;
  for (let column: usize = 0; column < job.valueDim; column += 4, v += stride, to += keys * bytes) {
    memory.copy(to, v, keys * bytes);
    for (let key: usize = 0; key < keys; key++) {
      if (!mask.isSeen(lanes, key, query)) memory.fill(to + key * bytes, 0, bytes);
    }
  }
  return hidden;
}

// Scores of one of few queries, side by side.
function dotRow(job: Job, panel: usize, tile: usize, query: usize, skipped: usize, groups: usize): usize {
  const dim = job.dim, row = rowAt(job, tile), settings = queryAt(job, tile, query);
  const k = keysAt(job, tile, skipped), kernel = job.pageStorage, q = settings + 16;
  if (kernel == INT8 || kernel == INT4) {
    const scales = <usize>load<u32>(tile, TILE_SCALES) + (skipped << 2), depth = depthOf(kernel, dim);
    const factor = f32.load(settings), shift = f32.load(settings, 4);
    if (kernel == INT8) dotOneByte(k, q, factor, shift, scales, row, depth, groups);
    else dotOneNibble(k, q, factor, shift, scales, job.pageKeys << 2, row, depth, groups);
  } else if (kernel == F16) {
    dotOne<finiteHalf>(k, q, row, dim, groups, f32.load(settings));
    if (hasSpecials(job, tile)) mendScores(job, panel, tile, query, skipped, groups << 2, row);
  } else if (kernel == BF16) dotOne<brain>(k, q, row, dim, groups, 1);
  else dotOne<f32>(k, q, row, dim, groups, 1);
  return row;
}

// o of one of few queries takes in a tile, by weights side by side. Where it is the only one, its o is too.
// `lanes` says who sees what, where values must not be multiplied by zero; else it is 0.
function accumulateRow(
  job: Job, tile: usize, query: usize, skipped: usize, keys: usize, row: usize, o: usize, alpha: f32,
  lanes: usize,
): void {
  const columns = outputBytes(job) >> 5, kernel = job.pageStorage, isOnly = job.few == 1;
  const weights = weightsAt(job, tile), step = <usize>job.pageKeys << 2;
  let v = valuesAt(job, tile, skipped), stride = <usize>load<u32>(tile, TILE_COLUMNS);
  let scales = <usize>load<u32>(tile, TILE_SCALES) + scalesOf(kernel, job.dim) * step + (skipped << 2);
  o += query << 2;
  if (kernel == INT8) {
    const factor = quantizeWeights(row, scales, keys, weights);
    accumulateOneByte(v, stride, weights, factor, o, columns, alpha, keys, isOnly);
    return;
  }
  if (kernel == INT4) {
    if (skipped & 4) {
      // Values of eight keys share a lane: the four before have no weight.
      memory.copy(row + 16, row, keys << 2);
      v128.store(row, f32x4.splat(0));
      clearBehind(row, keys += 4);
      v = valuesAt(job, tile, skipped - 4);
      scales -= 16;
    }
    accumulateOneNibble(v, stride, row, scales, step, weights, o, columns, alpha, keys, isOnly);
    return;
  }
  if (lanes != 0) {
    v = hideValues(job, tile, query, skipped, keys, lanes);
    stride = keys * bytesOfFour(kernel);
  }
  splat(row, 4, keys, kernel == F16 ? HALF_WEIGHT : 1, kernel != F32, weights);
  if (kernel == F16) {
    accumulateOne<finiteHalf>(v, stride, weights, o, columns, alpha, keys, isOnly);
    if (hasSpecials(job, tile)) mendValues(job, tile, skipped, keys, row, 4, o, isOnly ? 4 : 32);
  } else if (kernel == BF16) accumulateOne<brain>(v, stride, weights, o, columns, alpha, keys, isOnly);
  else accumulateOne<f32>(v, stride, weights, o, columns, alpha, keys, isOnly);
}

// What is missing to a multiple of eight weighs nothing.
function clearBehind(row: usize, keys: usize): void {
  for (let key = keys; key & 7; key++) f32.store(row + (key << 2), 0);
}

// Scores of few queries and a tile of a page, among those of a whole panel.
function dotFew(job: Job, panel: usize, tile: usize, s: usize, skipped: usize, groups: usize): void {
  if (job.few != 4) {
    for (let query: usize = 0; query < rowsOf(job); query++) {
      const row = dotRow(job, panel, tile, query, skipped, groups), lane = s + (query << 2);
      spread(row, lane, groups << 2);
    }
    return;
  }
  const dim = job.dim, k = keysAt(job, tile, skipped), kernel = job.pageStorage;
  if (kernel == F16) {
    dotFour<finiteHalf>(k, panel, s, dim, groups);
    if (hasSpecials(job, tile)) mendFour(job, panel, tile, s, skipped, groups << 2);
  } else if (kernel == BF16) dotFour<brain>(k, panel, s, dim, groups);
  else dotFour<f32>(k, panel, s, dim, groups);
}

// Scores among those of a panel, mended one query after the other.
function mendFour(job: Job, panel: usize, tile: usize, s: usize, skipped: usize, keys: usize): void {
  const row = rowAt(job, tile);
  for (let query: usize = 0; query < rowsOf(job); query++) {
    const lane = s + (query << 2);
    gather(lane, row, keys);
    mendScores(job, panel, tile, query, skipped, keys, row);
    spread(row, lane, keys);
  }
}

// o of few queries takes in a tile of a page; `lanes` as above.
function accumulateFew(
  job: Job, tile: usize, p: usize, o: usize, alpha: usize, skipped: usize, keys: usize, lanes: usize,
): void {
  if (job.few != 4) {
    const row = rowAt(job, tile);
    for (let query: usize = 0; query < rowsOf(job); query++) {
      const lane = query << 2;
      gather(p + lane, row, keys);
      clearBehind(row, keys);
      accumulateRow(job, tile, query, skipped, keys, row, o, f32.load(alpha + lane), lanes);
    }
    return;
  }
  const columns = <usize>load<u32>(tile, TILE_COLUMNS), end = o + outputBytes(job);
  const kernel = job.pageStorage;
  for (let from: usize = 0; from < keys; from += RUN, alpha = ONES) {
    const v = valuesAt(job, tile, skipped + from), w = p + (from << 5), count = min(RUN, keys - from);
    const seen = lanes == 0 ? <usize>0 : lanes + from;
    if (kernel == F16) accumulateFour<finiteHalf>(v, columns, w, o, end, alpha, count, 0);
    else if (kernel == BF16) accumulateFour<brain>(v, columns, w, o, end, alpha, count, seen);
    else accumulateFour<f32>(v, columns, w, o, end, alpha, count, seen);
  }
  if (!hasSpecials(job, tile)) return;
  for (let lane: usize = 0; lane < rowsOf(job) << 2; lane += 4) {
    mendValues(job, tile, skipped, keys, p + lane, 32, o + lane, 32);
  }
}

// The one query of decoding and a tile of which it sees all: its scores are never spread over a panel.
function attendOne(job: Job, panel: usize, tile: usize, skipped: usize, keys: usize): void {
  const o = panel + (job.dim << 5), state = o + outputBytes(job);
  const row = dotRow(job, panel, tile, 0, skipped, (keys + 3) >> 2);
  const scratch = row + rowBytes(job) - ROW_SCRATCH;
  const alpha = softmaxOne(row, keys, state + M, state + L, scratch, job.unit);
  accumulateRow(job, tile, 0, skipped, keys, row, o, alpha, 0);
}

// Whether scores are nothing but scaled products.

// @ts-ignore: decorator
@inline
function isPlain(job: Job): bool {
  return job.softcap == 0 && (job.slopes | job.bias | job.mask) == 0;
}

// A tile of a page becomes f32, where it is stored in another way: once for all panels.
function widen(job: Job, tile: usize): void {
  if (load<u32>(tile, TILE_STORED) == 0) return;
  store<u32>(tile, 0, TILE_STORED);
  const keys = <usize>load<u32>(tile, TILE_KEYS), scales = <usize>load<u32>(tile, TILE_SCALES);
  const wideK = wideAt(job, tile);
  const wideV = wideK + (job.tileKeys * job.dim << 2);
  widenTile(
    job.pageStorage, <usize>load<u32>(tile, TILE_K), <usize>load<u32>(tile, TILE_V),
    <usize>load<u32>(tile, TILE_COLUMNS), job.dim, job.valueDim, keys, scales,
    job.pageKeys << 2, job.means, wideK, wideV,
  );
  store<u32>(tile, <u32>wideK, TILE_K);
  store<u32>(tile, <u32>wideV, TILE_V);
  store<u32>(tile, <u32>(keys << 4), TILE_COLUMNS);
}

const FINITE: i32 = 1;
const NOT_FINITE: i32 = 2;

// Whether all values of a tile are finite, looked up once for all of its panels.
function tileIsFinite(job: Job, tile: usize): bool {
  let known = load<i32>(tile, TILE_FINITE);
  if (known == 0) {
    widen(job, tile);
    known = valuesAreFinite(job, tile, 0, <usize>load<u32>(tile, TILE_KEYS)) ? FINITE : NOT_FINITE;
    store<i32>(tile, known, TILE_FINITE);
  }
  return known == FINITE;
}

// The same of some keys of a tile, counted from its first.
function valuesAreFinite(job: Job, tile: usize, from: usize, to: usize): bool {
  if (from >= to) return true;
  widen(job, tile);
  const row = job.pages == 0 ? job.vKey : 16;
  return mask.finiteValues<f32>(
    <usize>load<u32>(tile, TILE_V), row, <usize>load<u32>(tile, TILE_COLUMNS), job.valueDim, from, to,
  );
}

// One panel, of the rows from firstRow on, against the keys from..to of a tile, of which it visits
// those that some row sees.
function attend(
  job: Job, panel: usize, s: usize, firstRow: usize, rows: usize,
  tileFrom: usize, tileTo: usize, visit: usize,
): void {
  const valueDim = job.valueDim;
  const o = panel + (job.dim << 5), state = o + outputBytes(job);
  const tile = s + (job.tileKeys << 5), bounds = tile + TILE_BOUNDS;
  const lanes = tile + TILE_LANES;

  clipBounds(state + BOUNDS, bounds, tileFrom, tileTo);
  const first = smallest(bounds), to = <usize>largest(bounds + 32), from = <usize>(first & ~3);
  if (<usize>first >= to) return;
  const groups = (to - from + 3) >> 2, padded = from + (groups << 2);

  const few = job.few, skipped = from - <usize>load<u32>(tile, TILE_FIRST);
  if (few == 0) widen(job, tile);
  if (few == 1 && isPlain(job) && largest(bounds) <= <i32>from && smallest(bounds + 32) >= <i32>to) {
    attendOne(job, panel, tile, skipped, to - from);
    return;
  }

  let masked = job.mask != 0 || (visit != 0 && changetype<KeyInterval>(visit).bits != 0);
  if (masked) {
    const kind = readMasks(job, state, tile, firstRow, rows, visit, from, <usize>first, to);
    if (kind == mask.SKIP) return;
    masked = kind == mask.MIXED;
  }

  if (few == 0) dotPanels(job.splats, keysAt(job, tile, skipped), panel, s, job.dim, groups);
  else dotFew(job, panel, tile, s, skipped, groups);
  capScores(job, s, padded - from);
  if (biasScores(job, state, s, from, padded)) {
    if (!masked) mask.seeAll(lanes, padded - from);
    mask.seeFinite(lanes, state + BIAS_ROWS, from, padded);
    masked = true;
  }

  // Mask: where only bounds mask, every row sees the keys fullFrom..fullTo; the others are looked at
  // one by one.
  const fullFrom = min<usize>(max<usize>(from, largest(bounds)), to);
  const fullTo = max<usize>(min<usize>(to, smallest(bounds + 32)), fullFrom);
  const atEnd = fullTo - from;
  if (from < fullFrom) {
    if (!masked) mask.seeAll(lanes, fullFrom - from);
    mask.seeWithin(lanes, bounds, <i32>from, <i32>fullFrom);
    if (!masked) mask.maskScores(s, lanes, fullFrom - from);
  }
  if (fullTo < padded) {
    if (!masked) mask.seeAll(lanes + atEnd, padded - fullTo);
    mask.seeWithin(lanes + atEnd, bounds, <i32>fullTo, <i32>padded);
    if (!masked) mask.maskScores(s + (atEnd << 5), lanes + atEnd, padded - fullTo);
  }
  if (masked) mask.maskScores(s, lanes, padded - from);

  softmax(s, groups << 2, state + M, state + L, state + ALPHA, state + SHIFT, job.unit);

  // Values. Those that some row must not see are looked at, since 0 * NaN would leave a trace. Which rows
  // are computed with others, and what nobody sees, changes no sum: only where zeros stand.
  const allSeen = !masked && fullFrom == from && fullTo == to;
  const harmless = few != 0
    ? allSeen || fewAreFinite(job, tile, skipped, skipped + (to - from))
    : masked
    ? tileIsFinite(job, tile)
    : valuesAreFinite(job, tile, skipped, skipped + (fullFrom - from)) &&
      valuesAreFinite(job, tile, skipped + atEnd, skipped + (to - from));
  if (!harmless && !masked) mask.seeAll(lanes + (fullFrom - from), fullTo - fullFrom);
  if (few != 0) {
    accumulateFew(job, tile, s, o, state + ALPHA, skipped, to - from, harmless ? 0 : lanes);
    return;
  }
  const columns = <usize>load<u32>(tile, TILE_COLUMNS), v = <usize>load<u32>(tile, TILE_V);
  const row = job.pages == 0 ? job.vKey : 16;
  if (harmless) {
    accumulateColumns(job.splats, v + skipped * row, row, columns, s, o, state, state + ALPHA, to - from);
  }
  else accumulateSeen(v + skipped * row, row, columns, valueDim, s, o, state + ALPHA, lanes, to - from);
}

// The logarithm of a row's sum of exponentials. Of a sink that nothing adds to it is the sink.
function logOf(job: Job, row: usize, m: f32, l: f32): f64 {
  if (l == 0) return -Infinity;
  const sink = sinkOf(job, row);
  if (m == sinkScore(job, sink) && l == sinkSum(job, sink)) return sink;
  // Rounding may not make infinity of what is finite.
  const exact = <f64>m * <f64>job.unit * LN_2 + NativeMath.log(l);
  return min<f64>(max<f64>(exact, -f32.MAX_VALUE), f32.MAX_VALUE);
}

// Epilogue: out = o / l, lse = ln(2) unit m + ln(l); a row that saw nothing gives 0 and -inf.
function endPanel(job: Job, panel: usize, firstRow: usize, rows: usize): void {
  const o = panel + (job.dim << 5), state = o + outputBytes(job), one = f32x4.splat(1);
  for (let lane: usize = 0; lane < 32; lane += 16) {
    const l = v128.load(state + L + lane);
    v128.store(state + ALPHA + lane, v128.andnot(f32x4.div(one, l), f32x4.eq(l, f32x4.splat(0))));
  }
  unpackPanel(job, o, state + ALPHA, job.valueDim, firstRow, rows);
  const lse = job.lse;
  if (lse == 0) return;
  for (let lane: usize = 0; lane < min(PANEL, rows - firstRow); lane++) {
    const m = load<f32>(state + M + (lane << 2)), l = load<f32>(state + L + (lane << 2));
    const at = rowOf(lse, job.lsePosition, job.lseHead, firstRow + lane, job.group);
    const sum = logOf(job, firstRow + lane, m, l), rounded = <f32>sum;
    store<f32>(at, rounded);
    // Where gradients are asked for, also what rounding took.
    if (job.lseRest != 0) store<f32>(at - lse + job.lseRest, <f32>(sum - rounded));
  }
}

// Says where a tile of `keys` keys from `first` on, a multiple of 4, is: among packed keys and values, or
// in a page that begins with key `pageFirst`.
function setTile(job: Job, tile: usize, first: usize, keys: usize, page: usize, pageFirst: usize): void {
  const dim = job.dim;
  store<i32>(tile, 0, TILE_FINITE);
  store<u32>(tile, <u32>first, TILE_FIRST);
  store<u32>(tile, <u32>((keys + 3) & ~3), TILE_KEYS);
  if (page == 0) {
    store<u32>(tile, <u32>(job.k + first * (dim << 2)), TILE_K);
    store<u32>(tile, <u32>(job.v + first * job.vKey), TILE_V);
    store<u32>(tile, job.vColumns, TILE_COLUMNS);
    store<u32>(tile, 0, TILE_STORED);
    return;
  }
  const storage = job.pageStorage, four = bytesOfFour(storage), skipped = first - pageFirst;
  const scales = page + job.pageScales;
  store<u32>(tile, <u32>(page + (skipped >> 2) * depthOf(storage, dim) * four), TILE_K);
  store<u32>(tile, <u32>(page + job.pageValues + skipped * four), TILE_V);
  store<u32>(tile, <u32>(job.pageKeys * <i32>four), TILE_COLUMNS);
  store<u32>(tile, <u32>(storage == F16 ? scales : scales + (skipped << 2)), TILE_SCALES);
  store<u32>(tile, storage == F32 ? 0 : 1, TILE_STORED);
}

// Parts of PART_KEYS keys: which one is under way, and whether one before it is among the sums.
let part: usize = 0;
let hasSums: bool = false;

// Takes the panels of a part into the sums, and begins them anew.
function endPart(job: Job, scratch: usize, panels: usize, firstRow: usize, rows: usize): void {
  const bytes = outputBytes(job), size = sumBytes(job), stride = panelBytes(job);
  let sum = scratch + scratchBytes(job) - sumsBytes(job);
  for (let row = firstRow, panel = panels; row < rows; row += PANEL, panel += stride, sum += 2 * size) {
    const o = panel + (job.dim << 5);
    if (!hasSums) {
      memory.fill(sum, 0, 2 * size);
      clearSums(sum, bytes);
    }
    mergePanel(sum, sum + size, o, bytes, job.unit);
    clearSums(o, bytes);
  }
  hasSums = true;
}

// o, m and l of a panel that has seen nothing.
function clearSums(o: usize, bytes: usize): void {
  memory.fill(o, 0, bytes + ALPHA);
  v128.store(o + bytes, f32x4.splat(-Infinity), M);
  v128.store(o + bytes, f32x4.splat(-Infinity), M + 16);
}

// The sums of all parts become the panels'.
function settleParts(job: Job, scratch: usize, panels: usize, firstRow: usize, rows: usize): void {
  const bytes = outputBytes(job), size = sumBytes(job), stride = panelBytes(job);
  let sum = scratch + scratchBytes(job) - sumsBytes(job);
  for (let row = firstRow, panel = panels; row < rows; row += PANEL, panel += stride, sum += 2 * size) {
    settlePanel(sum, sum + size, panel + (job.dim << 5), bytes);
  }
}

// The panels of the rows firstRow..rows against a run of keys, tile by tile; of a page, where there is one.
function attendRun(
  job: Job, scratch: usize, panels: usize, firstRow: usize, rows: usize,
  from: usize, to: usize, visit: usize, page: usize, pageFirst: usize,
): void {
  const stride = panelBytes(job), tileKeys = job.tileKeys;
  while (from < to) {
    const first = from & ~3, end = min(min(to, first + tileKeys), (from / PART_KEYS + 1) * PART_KEYS);
    if (from / PART_KEYS != part) {
      endPart(job, scratch, panels, firstRow, rows);
      part = from / PART_KEYS;
    }
    setTile(job, scratch + (tileKeys << 5), first, end - first, page, pageFirst);
    for (let row = firstRow, panel = panels; row < rows; row += PANEL, panel += stride) {
      attend(job, panel, scratch, row, rows, from, end, visit);
    }
    from = end;
  }
}

// The pages of a cache, from the first key on.
function attendPages(job: Job, scratch: usize, panels: usize, firstRow: usize, rows: usize): void {
  const keys = job.keys, pageKeys = <usize>job.pageKeys;
  let page = job.pages;
  for (let first: usize = 0; first < keys; first += pageKeys, page += 4) {
    attendRun(
      job, scratch, panels, firstRow, rows, first, min(first + pageKeys, keys), 0, <usize>load<u32>(page), first,
    );
  }
}

// The few queries of a panel as their kernels read them.
function prepareQueries(job: Job, scratch: usize, panel: usize): void {
  const dim = job.dim, mean = job.means, storage = job.pageStorage;
  const tile = scratch + (job.tileKeys << 5);
  if (storage != INT8 && storage != INT4) {
    if (job.few != 1) return;
    const factor: f32 = storage == F16 ? queryFactor(panel, dim) : 1, settings = queryAt(job, tile, 0);
    f32.store(settings, HALF_BIAS / factor);
    splat(panel, 32, dim, factor, storage != F32, settings + 16);
    return;
  }
  for (let row: usize = 0; row < rowsOf(job); row++) {
    const q = panel + (row << 2), settings = queryAt(job, tile, row);
    let shift: f32 = 0;
    if (mean != 0) {
      for (let d: usize = 0; d < dim; d++) shift += f32.load(q + (d << 5)) * f32.load(mean + (d << 2));
    }
    f32.store(settings, quantizeQuery(q, 32, dim, settings + 16));
    f32.store(settings, shift, 4);
  }
}

// Every run of keys that a tile of rows visits; all of its rows are in one block of queries.
function attendVisits(job: Job, scratch: usize, panels: usize, firstRow: usize, rows: usize): void {
  const block = visitsOf(job, firstRow);
  const end = <usize>load<u32>(block, 4);
  for (let visit = <usize>load<u32>(block); visit < end; visit += offsetof<KeyInterval>()) {
    const from = changetype<KeyInterval>(visit).from, to = changetype<KeyInterval>(visit).to;
    attendRun(job, scratch, panels, firstRow, rows, from, to, visit, 0, 0);
  }
}

// The job: every query row against every key that it sees. `scratch` is tile memory of the thread
// that runs it, of scratchBytes(). Where the record has a place for them, the panels are built there
// and left as they are, for merge().
export function forward(job: Job, scratch: usize): void {
  const rows = rowsOf(job);
  const stride = panelBytes(job), kept = job.panels;
  const panels = kept == 0 ? scratch + panelsAt(job) : kept;
  for (let first: usize = 0, end: usize = 0; first < rows; first = end) {
    end = tileEnd(job, first, rows);
    for (let row = first, panel = panels; row < end; row += PANEL, panel += stride) {
      beginPanel(job, panel, row, end);
    }
    part = 0;
    hasSums = false;
    if (job.few != 0) prepareQueries(job, scratch, panels);
    if (job.pages != 0) attendPages(job, scratch, panels, first, end);
    else if (job.visits != 0) attendVisits(job, scratch, panels, first, end);
    else attendRun(job, scratch, panels, first, end, 0, job.keys, 0, 0, 0);
    if (hasSums) {
      endPart(job, scratch, panels, first, end);
      settleParts(job, scratch, panels, first, end);
    }
    if (job.few == 1) {
      const o = panels + (job.dim << 5);
      spread(o, o, job.valueDim);
    }
    if (kept != 0) continue;
    for (let row = first, panel = panels; row < end; row += PANEL, panel += stride) {
      endPanel(job, panel, row, end);
    }
  }
}

// The end of a job that was split over keys: `parts` times the panels of one tile, one part after
// the other, and room for one more. They are merged in ascending order, whoever computed them, as those of a job
// that was not split.
export function merge(job: Job, parts: usize): void {
  const rows = rowsOf(job);
  const stride = panelBytes(job), one = ((rows + PANEL - 1) / PANEL) * stride;
  const bytes = outputBytes(job);
  for (let row: usize = 0, panel = job.panels; row < rows; row += PANEL, panel += stride) {
    const o = panel + (job.dim << 5), rest = o + parts * one;
    memory.fill(rest, 0, sumBytes(job));
    for (let skipped = one; skipped < parts * one; skipped += one) {
      mergePanel(o, rest, o + skipped, bytes, job.unit);
    }
    settlePanel(o, rest, o, bytes);
    endPanel(job, panel, row, rows);
  }
}
