// Gradients (FlashAttention backward; Dao et al., arXiv 2205.14135, algorithm 4, in the loop order of
// arXiv 2307.08691): key tiles outside, query tiles inside. Scores and weights are computed again, tile by tile.
//
// As in forward, scores of a panel of eight rows stand as s[keys][8]. With them dQ^T = K^T dS^T is one more
// accumulation over keys, whose result stays as panels in memory. Over rows one sums for dK and dV: the
// weights, and the gradients of the scores, are turned by 8x8 transposes, and then eight keys are what eight
// queries are elsewhere: dV^T[dim][8 keys] = dO^T P over all rows of a query tile at once.
//
// Sums are formed in parts, whose errors do not grow with what is summed: of a tile, of some tiles, of all. Tiles
// of rows end where units do, which are counted from the segment's first row, and chunks of keys have a fixed size:
// how a call is cut changes no bit.

import { changes_f32_4x4, weights_f32_4x4 } from "./exp.gen";
import { fma } from "./fma";
import { Gradient, Job, KeyInterval, PART_KEYS, PART_ROWS } from "./job.gen";
import { PANEL, packKeys, packValues, storeTurned, unpackRows } from "./layout";
import * as mask from "./mask";
import {
  ALPHA, biasScores, BIAS_ROWS, BOUNDS, capScores, clipBounds, L, largest, M, outputBytes, packPanel, panelBytes, placeRow,
  readMasks, rowOf, rowsOf, setBounds, SHIFT, smallest, TILE_BOUNDS, TILE_LANES, tileBytes, tileEnd, unpackPanel,
  visitsOf,
} from "./panel";
import { accumulateColumns, dotPanels, ONES, RUN } from "./products";
import { toBaseFour } from "./softmax";
import { F32 } from "./storage";

// Where everything is in tile memory of the job under way.

// Of a panel and a tile of keys: scores, then weights; gradients of the weights, then of the scores; and what a cap
// multiplies these by; each [keys][8]. Then the tile's header, as in forward.
let scores: usize = 0;
let changes: usize = 0;
let caps: usize = 0;
let tile: usize = 0;
// Of a tile of keys: panels [keys / 4][dim][4] of keys and values, columns [dim / 4][keys][4] of keys.
let keyPanels: usize = 0;
let valuePanels: usize = 0;
let keyColumns: usize = 0;
// Of a tile of rows: panels of eight with their state, where dO stands in the place of o; columns
// [dim / 4][rows][4] of queries and dO; and, of eight keys each, [rows][8] of weights and of gradients of scores.
let panels: usize = 0;
let queryColumns: usize = 0;
let outColumns: usize = 0;
let turnedWeights: usize = 0;
let turnedChanges: usize = 0;
// Of eight keys each, the first row of the tile that sees any of them, and the one behind the last.
let spans: usize = 0;

// What is known of the tiles under way.
let firstKey: usize = 0; // of the tile, a multiple of 8
let keyCount: usize = 0;
let keysAreFinite: i32 = 0;
let rowsAreFinite: i32 = 0;
let isPrepared: bool = false;
let isMixed: bool = false; // whether some row does not see some key of the run under way

const FINITE: i32 = 1;
const NOT_FINITE: i32 = 2;

// Bytes of eight rows' or keys' gradients, [width up to a multiple of 4][8].

// @ts-ignore: decorator
@inline
function gradientBytes(width: usize): usize {
  return ((width + 3) & ~3) << 5;
}

// Lays tile memory out, and returns where it ends.
function layOut(job: Job, scratch: usize): usize {
  const keys = job.tileKeys, rows = job.tileRows, dim = job.dim;
  const valueDim = job.valueDim, perRows = rows >> 3;
  scores = scratch;
  tile = scores + (keys << 5);
  changes = scores + tileBytes(keys);
  caps = changes + (keys << 5);
  keyPanels = caps + (keys << 5);
  valuePanels = keyPanels + (keys * dim << 2);
  keyColumns = valuePanels + (keys * valueDim << 2);
  panels = keyColumns + (keys >> 3) * gradientBytes(dim);
  queryColumns = panels + perRows * panelBytes(job);
  outColumns = queryColumns + perRows * gradientBytes(dim);
  turnedWeights = outColumns + perRows * gradientBytes(valueDim);
  turnedChanges = turnedWeights + (keys * rows << 2);
  spans = turnedChanges + (keys * rows << 2);
  return spans + keys;
}

// Bytes of tile memory that the job needs, at 16-byte alignment.
export function gradientScratchBytes(job: Job): usize {
  return layOut(job, 0);
}

// Keys and values of a tile, in the forms that products need.
function packTile(job: Job, gradient: Gradient): void {
  const dim = job.dim, valueDim = job.valueDim, columns = job.tileKeys << 4;
  const kRow = gradient.kRow, kElement = gradient.kElement;
  const k = gradient.k + firstKey * kRow, kStorage = <i32>gradient.kStorage;
  packKeys(kStorage, k, kRow, kElement, keyPanels, dim, keyCount);
  packValues(kStorage, k, kRow, kElement, keyColumns, columns, dim, keyCount);
  const vRow = gradient.vRow, v = gradient.v + firstKey * vRow;
  packKeys(
    <i32>gradient.vStorage, v, vRow, gradient.vElement, valuePanels, valueDim, keyCount,
  );
  keysAreFinite = 0;
}

// Columns [width / 4][..][4] of eight rows from panel[width][8]; what lies beyond `width` is 0.
function turnPanel(panel: usize, width: usize, target: usize, columns: usize): void {
  const zero = f32x4.splat(0);
  for (let at: usize = 0; at < width; at += 4) {
    for (let half: usize = 0; half < 32; half += 16) {
      const from = panel + (at << 5) + half, to = target + (half << 2);
      const a = v128.load(from), b = at + 1 < width ? v128.load(from, 32) : zero;
      const c = at + 2 < width ? v128.load(from, 64) : zero, d = at + 3 < width ? v128.load(from, 96) : zero;
      storeTurned(to, 16, a, b, c, d);
    }
    target += columns;
  }
}

// What a row's weights are computed from: its lse as scores are, its delta, and the factor of its dO.
function placeSums(job: Job, gradient: Gradient, state: usize, row: usize): void {
  const at = rowOf(0, job.lsePosition, job.lseHead, row, job.group);
  store<f32>(state, load<f32>(job.lse + at), M);
  store<f32>(state, load<f32>(gradient.delta + at), L);
  store<f32>(state, load<f32>(gradient.factor + at), SHIFT);
}

// panel[width][8] times a factor for each of its rows.
function scalePanel(panel: usize, width: usize, factors: usize): void {
  const low = v128.load(factors), high = v128.load(factors, 16);
  for (const end = panel + (width << 5); panel < end; panel += 32) {
    v128.store(panel, f32x4.mul(v128.load(panel), low));
    v128.store(panel, f32x4.mul(v128.load(panel, 16), high), 16);
  }
}

// The panels of the rows first..end, and their columns.
function prepareRows(job: Job, gradient: Gradient, first: usize, end: usize): void {
  const dim = job.dim, valueDim = job.valueDim, group = job.group;
  const stride = panelBytes(job), columns = job.tileRows << 4;
  let panel = panels, byte: usize = 0;
  for (let row = first; row < end; row += PANEL, panel += stride, byte += PANEL << 4) {
    const o = panel + (dim << 5), state = o + outputBytes(job);
    packPanel(
      job.qStorage, job.q, job.qPosition, job.qHead, job.qElement,
      panel, dim, job.scale, row, end, group,
    );
    packPanel(
      <i32>gradient.dOutStorage, gradient.dOut, gradient.dOutPosition,
      gradient.dOutHead, gradient.dOutElement, o, valueDim, 1, row, end, group,
    );
    for (let lane: usize = 0; lane < PANEL; lane++) {
      const at = state + (lane << 2), placed = min(row + lane, end - 1);
      placeRow(job, at, placed);
      placeSums(job, gradient, at, placed);
      // What only fills the panel sees nothing.
      if (row + lane >= end) store<i32>(at, load<i32>(at, BOUNDS), BOUNDS + 32);
    }
    scalePanel(o, valueDim, state + SHIFT);
    turnPanel(panel, dim, queryColumns + byte, columns);
    turnPanel(o, valueDim, outColumns + byte, columns);
  }
  rowsAreFinite = 0;
}

// Whether keys of the tile may be multiplied by 0; looked up once.
function tileKeysAreFinite(job: Job): bool {
  if (keysAreFinite == 0) {
    const columns = job.tileKeys << 4;
    keysAreFinite = mask.finiteValues<f32>(keyColumns, 16, columns, job.dim, 0, keyCount) ? FINITE : NOT_FINITE;
  }
  return keysAreFinite == FINITE;
}

// The same of a tile's queries and dO.
function tileRowsAreFinite(job: Job, rows: usize): bool {
  if (rowsAreFinite == 0) {
    const columns = job.tileRows << 4;
    const are = mask.finiteValues<f32>(queryColumns, 16, columns, job.dim, 0, rows) &&
      mask.finiteValues<f32>(outColumns, 16, columns, job.valueDim, 0, rows);
    rowsAreFinite = are ? FINITE : NOT_FINITE;
  }
  return rowsAreFinite == FINITE;
}

// o += v^T p as accumulateColumns() sums, where v may hold what is not finite: a weight of 0 leaves no trace.
function accumulateWeighted(
  v: usize, columns: usize, p: usize, o: usize, width: usize, count: usize,
): void {
  const zero = f32x4.splat(0);
  for (let column: usize = 0; column < width; column++) {
    const values = v + (column >> 2) * columns + ((column & 3) << 2);
    for (let at: usize = 0; at < count;) {
      let c0 = zero, c1 = zero;
      for (const end = min(at + RUN, count); at < end; at++) {
        const x = v128.load_splat<f32>(values + (at << 4));
        const p0 = v128.load(p + (at << 5)), p1 = v128.load(p + (at << 5), 16);
        c0 = fma(v128.and(x, f32x4.ne(p0, zero)), p0, c0);
        c1 = fma(v128.and(x, f32x4.ne(p1, zero)), p1, c1);
      }
      v128.store(o, f32x4.add(v128.load(o), c0));
      v128.store(o, f32x4.add(v128.load(o, 16), c1), 16);
    }
    o += 32;
  }
}

// What a capped score's gradient is multiplied by: 1 - tanh^2, from s[keys][8] = cap * tanh.
function keepCaps(job: Job, keys: usize): void {
  const inverse = f32x4.splat(1 / job.softcap), one = f32x4.splat(1);
  for (let at: usize = 0; at < keys << 5; at += 16) {
    const t = f32x4.mul(v128.load(scores + at), inverse);
    v128.store(caps + at, f32x4.sub(one, f32x4.mul(t, t)));
  }
}

// dS = P * (dP - delta), in place of dP. Where `masked`, weights of 0 leave nothing of what dP may be.
function changeOfScores(state: usize, keys: usize, masked: bool): void {
  const delta0 = v128.load(state, L), delta1 = v128.load(state, L + 16), zero = f32x4.splat(0);
  for (let at: usize = 0; at < keys << 5; at += 32) {
    const p0 = v128.load(scores + at), p1 = v128.load(scores + at, 16);
    let d0 = f32x4.mul(p0, f32x4.sub(v128.load(changes + at), delta0));
    let d1 = f32x4.mul(p1, f32x4.sub(v128.load(changes + at, 16), delta1));
    if (masked) {
      d0 = v128.and(d0, f32x4.ne(p0, zero));
      d1 = v128.and(d1, f32x4.ne(p1, zero));
    }
    v128.store(changes + at, d0);
    v128.store(changes + at, d1, 16);
  }
}

// dS times what its scores were capped by.
function capChanges(keys: usize): void {
  const zero = f32x4.splat(0);
  for (let at: usize = 0; at < keys << 5; at += 16) {
    const kept = f32x4.ne(v128.load(scores + at), zero);
    const d = f32x4.mul(v128.load(changes + at), v128.load(caps + at));
    v128.store(changes + at, v128.and(d, kept));
  }
}

// source[keys][8 rows] becomes, for each eight keys, [8 rows][8 keys], `stride` bytes from one eight to the next.
function turn(source: usize, groups: usize, target: usize, stride: usize): void {
  for (; groups > 0; groups--) {
    for (let quarter: usize = 0; quarter < 4; quarter++) {
      const keys = (quarter & 1) << 7, rows = (quarter >> 1) << 4;
      const from = source + keys + rows, to = target + (rows << 3) + (keys >> 3);
      const a = v128.load(from), b = v128.load(from, 32), c = v128.load(from, 64), d = v128.load(from, 96);
      storeTurned(to, 32, a, b, c, d);
    }
    source += 256;
    target += stride;
  }
}

// Rows of a tile's eights up to `end`, from `from` on, see none of these keys.
function clearRows(eight: usize, stride: usize, from: usize, end: usize): void {
  memory.fill(turnedWeights + eight * stride + (from << 5), 0, (end - from) << 5);
  memory.fill(turnedChanges + eight * stride + (from << 5), 0, (end - from) << 5);
}

// Eights of keys from..from + count have the rows row..row + 8, too.
function extendSpans(from: usize, count: usize, stride: usize, row: usize): void {
  for (let eight = from; eight < from + count; eight++) {
    const span = spans + (eight << 3), end = <usize>load<u32>(span, 4);
    if (end == 0) store<u32>(span, <u32>row);
    else if (end < row) clearRows(eight, stride, end, row);
    store<u32>(span, <u32>(row + PANEL), 4);
  }
}

// What rounding takes from a + b where a is the larger: it comes into the next sum (Kahan). Of what is not finite,
// nothing.

// @ts-ignore: decorator
@inline
function lostBy(a: v128, b: v128): v128 {
  const lost = f32x4.sub(b, f32x4.sub(f32x4.add(a, b), a));
  return v128.and(lost, f32x4.eq(lost, lost));
}

// Gradients of a bias: those of the scores, before caps, of the rows firstRow..end and the keys from..to.
function addBiasChanges(
  job: Job, gradient: Gradient, inTile: usize, firstRow: usize, end: usize, from: usize, to: usize,
): void {
  const group = job.group, stride = job.tileRows << 5;
  const position = gradient.dBiasPosition, head = gradient.dBiasHead;
  const perKey = gradient.dBiasKey, rest = gradient.dBiasRest;
  const turned = turnedChanges + (inTile << 5) + ((from - firstKey) >> 3) * stride;
  for (let row = firstRow; row < min(firstRow + PANEL, end); row++) {
    const target = rowOf(gradient.dBias, position, head, row, group) + from * perKey;
    let lane = turned + ((row - firstRow) << 5);
    if (perKey == 0) {
      let sum = f32x4.splat(0);
      for (let key = from; key < to; key += 8, lane += stride) {
        sum = f32x4.add(sum, f32x4.add(v128.load(lane), v128.load(lane, 16)));
      }
      const pairs = f32x4.add(sum, v128.shuffle<f32>(sum, sum, 2, 3, 0, 1));
      f32.store(target, f32.load(target) + (f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1)));
      continue;
    }
    // Up to a multiple of eight keys: nobody sees what lies behind the last.
    for (let key = from, at = target; key < to; key += 8, at += 32, lane += stride) {
      for (let half: usize = 0; half < 32; half += 16) {
        const sum = v128.load(at + half);
        let change = v128.load(lane + half);
        if (rest != 0) {
          change = f32x4.add(change, v128.load(at + half + rest));
          v128.store(at + half + rest, lostBy(sum, change));
        }
        v128.store(at + half, f32x4.add(sum, change));
      }
    }
  }
}

// One panel, `inTile` rows behind the tile's first, against the keys from..to of the tile.
function differentiatePanel(
  job: Job, gradient: Gradient, inTile: usize, firstRow: usize, end: usize,
  from: usize, to: usize, visit: usize, dq: usize,
): void {
  const dim = job.dim, splats = job.splats, panel = panels + (inTile >> 3) * panelBytes(job);
  const o = panel + (dim << 5), state = o + outputBytes(job), lanes = tile + TILE_LANES;
  const bounds = tile + TILE_BOUNDS, stride = job.tileRows << 5;
  clipBounds(state + BOUNDS, bounds, from, to);
  const first = <usize>smallest(bounds), last = <usize>largest(bounds + 32), begin = first & ~7;
  if (first >= last) return;
  const eights = (last - begin + 7) >> 3, keys = eights << 3, skipped = begin - firstKey, padded = begin + keys;

  // Masks. Bounds alone leave whole tiles in most cases.
  let masked = largest(bounds) > <i32>begin || smallest(bounds + 32) < <i32>padded;
  let hasLanes = job.mask != 0 || (visit != 0 && changetype<KeyInterval>(visit).bits != 0);
  if (hasLanes) {
    const kind = readMasks(job, state, tile, firstRow, end, visit, begin, first, last);
    if (kind == mask.SKIP) return;
    masked = masked || kind == mask.MIXED;
  }

  // Scores.
  dotPanels(splats, keyPanels + skipped * (dim << 2), panel, scores, dim, eights << 1);
  capScores(job, scores, keys);
  if (job.softcap != 0) keepCaps(job, keys);
  // Rows of a bias may be read up to a multiple of 4.
  if (biasScores(job, state, scores, begin, (last + 3) & ~3)) {
    if (!hasLanes) mask.seeAll(lanes, keys);
    mask.seeFinite(lanes, state + BIAS_ROWS, begin, last);
    hasLanes = masked = true;
  }
  if (masked) {
    if (!hasLanes) mask.seeAll(lanes, keys);
    mask.seeWithin(lanes, bounds, <i32>begin, <i32>padded);
    mask.maskScores(scores, lanes, keys);
  }
  const shift = toBaseFour(scores, keys, state + M, job.unit);
  isMixed = isMixed || masked;

  // The weights that forward had, and the gradients of the scores.
  dotPanels(splats, valuePanels + skipped * (job.valueDim << 2), o, changes, job.valueDim, eights << 1);
  const eight = skipped >> 3, turned = eight * stride + (inTile << 5), isCapped = job.softcap != 0;
  if (masked || isCapped) {
    weights_f32_4x4(scores, keys, shift, state + ALPHA, ONES);
    // Also those of a row whose lse is NaN.
    if (masked) mask.setUnseen(scores, lanes, keys, 0);
    changeOfScores(state, keys, masked);
    turn(scores, eights, turnedWeights + turned, stride);
    turn(changes, eights, turnedChanges + turned, stride);
  } else {
    changes_f32_4x4(scores, keys, shift, changes, state + L, turnedWeights + turned, turnedChanges + turned, stride);
  }
  if (gradient.dBias != 0) addBiasChanges(job, gradient, inTile, firstRow, end, begin, last);
  if (isCapped) {
    capChanges(keys);
    turn(changes, eights, turnedChanges + turned, stride);
  }
  extendSpans(eight, eights, stride, inTile);

  // dQ.
  const k = keyColumns + (skipped << 4), columns = job.tileKeys << 4, count = last - begin;
  if (!masked || tileKeysAreFinite(job)) {
    accumulateColumns(splats, k, 16, columns, changes, dq, dq + gradientBytes(dim), ONES, count);
  } else accumulateWeighted(k, columns, changes, dq, dim, count);
}

// dK, or dV, of the eights of keys from..to: sums of a tile's columns over rows, by what was turned.
function accumulateKeys(
  job: Job, columns: usize, turned: usize, target: usize, width: usize, from: usize, to: usize, rows: usize,
): void {
  const stride = job.tileRows << 5, perColumn = job.tileRows << 4, bytes = gradientBytes(width);
  const harmless = !isMixed || tileRowsAreFinite(job, rows);
  for (let eight = from; eight < to; eight++) {
    const span = spans + (eight << 3), first = <usize>load<u32>(span), end = <usize>load<u32>(span, 4);
    if (end == 0) continue;
    const v = columns + (first << 4), p = turned + eight * stride + (first << 5), o = target + eight * bytes;
    if (harmless) accumulateColumns(job.splats, v, 16, perColumn, p, o, o + bytes, ONES, end - first);
    else accumulateWeighted(v, perColumn, p, o, width, end - first);
  }
}

// Whether some of the rows first..end may see some of the keys from..to.
function mayMeet(job: Job, first: usize, end: usize, from: usize, to: usize): bool {
  const bounds = tile + TILE_BOUNDS;
  setBounds(job, bounds, first);
  const begin = load<i32>(bounds);
  setBounds(job, bounds, end - 1);
  return max(<i32>from, begin) < min(<i32>to, load<i32>(bounds, 32));
}

// A tile of rows against the keys from..to of the tile of keys.
function differentiateRun(
  job: Job, gradient: Gradient, first: usize, end: usize, from: usize, to: usize, visit: usize, dq: usize,
): void {
  if (!mayMeet(job, first, end, from, to)) return;
  if (!isPrepared) prepareRows(job, gradient, first, end);
  isPrepared = true;
  isMixed = false;
  const firstEight = (from - firstKey) >> 3, lastEight = (to - firstKey + 7) >> 3;
  memory.fill(spans + (firstEight << 3), 0, (lastEight - firstEight) << 3);
  for (let row = first; row < end; row += PANEL, dq += gradientBytes(job.dim)) {
    differentiatePanel(job, gradient, row - first, row, end, from, to, visit, dq);
  }
  // From the tile's first key on, which is where the chunk's gradients are counted from.
  const dim = job.dim, valueDim = job.valueDim, skipped = (firstKey - gradient.from) >> 3;
  const dk = gradient.dk + skipped * gradientBytes(dim);
  const dv = gradient.dv + skipped * gradientBytes(valueDim);
  accumulateKeys(job, queryColumns, turnedChanges, dk, dim, firstEight, lastEight, end - first);
  accumulateKeys(job, outColumns, turnedWeights, dv, valueDim, firstEight, lastEight, end - first);
}

// A tile of rows against the tile of keys.
function differentiateTile(job: Job, gradient: Gradient, first: usize, end: usize, dq: usize): void {
  const lastKey = firstKey + keyCount;
  isPrepared = false;
  if (job.visits == 0) {
    differentiateRun(job, gradient, first, end, firstKey, lastKey, 0, dq);
    return;
  }
  const list = visitsOf(job, first), last = <usize>load<u32>(list, 4);
  for (let visit = <usize>load<u32>(list); visit < last; visit += offsetof<KeyInterval>()) {
    const from = max(changetype<KeyInterval>(visit).from, firstKey), to = min(changetype<KeyInterval>(visit).to, lastKey);
    if (from < to) differentiateRun(job, gradient, first, end, from, to, visit, dq);
  }
}

// The end of the tile of rows that begins at `row`: no tile crosses a unit either.
function unitEnd(job: Job, gradient: Gradient, row: usize, rows: usize): usize {
  const unit = gradient.unit;
  return min(tileEnd(job, row, rows), (row / unit + 1) * unit);
}

// Whether a part of dK and dV, which is summed tile by tile, ends with a job's row: as far from the segment's first
// row however jobs are cut.
function endsPart(gradient: Gradient, end: usize): bool {
  const unit = gradient.unit;
  return (gradient.firstRow + end) % (((PART_ROWS + unit - 1) / unit) * unit) == 0;
}

// Adds a part to the sums of those before it; what that rounds off begins the next part.
function addPart(part: usize, sums: usize, bytes: usize): void {
  for (const end = part + bytes; part < end; part += 16, sums += 16) {
    const sum = v128.load(sums), x = v128.load(part);
    v128.store(sums, f32x4.add(sum, x));
    v128.store(part, lostBy(sum, x));
  }
}

// The same of what the tile of keys has.
function addParts(job: Job, gradient: Gradient): void {
  const dim = gradientBytes(job.dim), valueDim = gradientBytes(job.valueDim);
  const sums = gradient.sums, first = (firstKey - gradient.from) >> 3;
  const dk = gradient.dk + first * dim, dv = gradient.dv + first * valueDim;
  const eights = (keyCount + 7) >> 3;
  addPart(dk, dk + sums, eights * dim);
  addPart(dv, dv + sums, eights * valueDim);
}

// Panels of eight rows that the rows of a job are in.
function panelsIn(first: usize, end: usize): usize {
  return (end - first + PANEL - 1) / PANEL;
}

// The job: every query row against a chunk of keys. Its part of dQ is left in panels, of which each tile of rows
// has its own; dK and dV are added to. `scratch` is tile memory of gradientScratchBytes().
function differentiateJob(job: Job, scratch: usize): void {
  const gradient = changetype<Gradient>(job.gradient), rows = rowsOf(job), bytes = gradientBytes(job.dim);
  const from = gradient.from, to = gradient.to, tileKeys = job.tileKeys;
  layOut(job, scratch);
  for (firstKey = from; firstKey < to; firstKey += tileKeys) {
    keyCount = min(tileKeys, to - firstKey);
    packTile(job, gradient);
    let dq = gradient.dq;
    for (let first: usize = 0, end: usize = 0; first < rows; first = end) {
      end = unitEnd(job, gradient, first, rows);
      const count = panelsIn(first, end) * bytes;
      if (firstKey == from) memory.fill(dq, 0, count);
      differentiateTile(job, gradient, first, end, dq);
      if (gradient.sums != 0 && endsPart(gradient, end)) addParts(job, gradient);
      dq += count;
    }
  }
}

// The jobs of a chain, one after the other: those of a group's query heads, where each has a mask of its own.
export function differentiate(job: Job, scratch: usize): void {
  for (let at = changetype<usize>(job); at != 0; at = changetype<Gradient>(job.gradient).next) {
    job = changetype<Job>(at);
    differentiateJob(job, scratch);
  }
}

// dQ of all rows of a job, summed over `chunks` of keys, `stride` bytes apart, and times `factor`. `scratch` is
// the caller's: static memory is written anew whenever a thread begins.
export function finishQueries(job: Job, chunks: usize, stride: usize, factor: f32, scratch: usize): void {
  const gradient = changetype<Gradient>(job.gradient), rows = rowsOf(job), bytes = gradientBytes(job.dim);
  v128.store(scratch, f32x4.splat(factor));
  v128.store(scratch, f32x4.splat(factor), 16);
  let panel = gradient.dq;
  for (let first: usize = 0, end: usize = 0; first < rows; first = end) {
    end = unitEnd(job, gradient, first, rows);
    for (let row = first; row < end; row += PANEL, panel += bytes) {
      for (let chunk: usize = 1, other = panel + stride; chunk < chunks; chunk++, other += stride) {
        for (let at: usize = 0; at < bytes; at += 16) {
          v128.store(panel + at, f32x4.add(v128.load(panel + at), v128.load(other + at)));
        }
      }
      unpackPanel(job, panel, scratch, job.dim, row, end);
    }
  }
}

// dK or dV of `count` keys, times `factor`, as rows of a storage that lie one after the other. Sums of earlier parts
// are `sums` bytes behind those of the last, if there are any.
export function finishKeys(
  storage: i32, source: usize, sums: usize, width: usize, factor: f32, target: usize, count: usize, scratch: usize,
): void {
  if (sums != 0) addPart(source, source + sums, ((count + 7) >> 3) * gradientBytes(width));
  source += sums;
  const element: usize = storage == F32 ? 4 : 2, row = width * element;
  v128.store(scratch, f32x4.splat(factor));
  for (let key: usize = 0; key < count; key += 4) {
    const eight = source + (key >> 3) * gradientBytes(width) + ((key & 4) << 2), at = target + key * row;
    unpackRows(storage, eight, 32, scratch, width, at, at + row, at + 2 * row, at + 3 * row, element, count - key);
  }
}
