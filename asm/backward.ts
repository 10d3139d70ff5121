// Gradients (FlashAttention backward; Dao et al., arXiv 2205.14135, algorithm 4, in the loop order of
// arXiv 2307.08691): key tiles outside, query tiles inside. Scores and weights are computed again, tile by tile.
//
// As in forward, scores of a panel of eight rows stand as s[keys][8]. With them dQ^T = K^T dS^T is one more
// accumulation over keys, whose result stays as panels in memory. Over rows one sums for dK and dV: the
// weights, and the gradients of the scores, are transposed 8x8, and then eight keys are what eight
// queries are elsewhere: dV^T[dim][8 keys] = dO^T P over all rows of a query tile at once.
//
// Sums are formed in parts, whose errors do not grow with what is summed: of a tile, of some tiles, of all. Tiles
// of rows end where units do, which are counted from the segment's first row, and chunks of keys have a fixed size:
// how a call is cut changes no bit.

import { SCORED, WEIGHTS, WIDE } from "./build";
import { powers_f32_4x4 } from "./exp.gen";
import { fma } from "./fma";
import { packKeys, packValues, storeTransposed, unpackFourRows } from "./layout";
import * as mask from "./mask";
import {
  biasScores, capScores, hasMasks, findSeen, intervalsOf, mayMeet, packPanel, placeRow, readMasks, tileEnd, unpackPanel,
} from "./panel";
import { accumulateColumns, accumulateWeighted, dotPanels, ONES } from "./products";
import {
  addresses, Columns, fourRowsOf, outputOf, PANEL, panelBytes, queriesOf, rowOf, rowsOf, State, stateOf, Tile, tileBytes,
} from "./record";
import { Gradient, GroupRows, HeadRows, Job, KeyInterval, PART_ROWS } from "./records.gen";
import {
  beginKeys, beginRows, beginScores, changeScores, differentiateChange, findSeenKeys, maskGradients,
} from "./scored/attend";
import { workBytes } from "./scored/work";
import { toBaseFour } from "./softmax";
import { finiteValues } from "./values";
import { gradients_f32_4x8 } from "./wide/exp.gen";
import { accumulatePairs, dotPairs, Pair, PAIR_BYTES } from "./wide/pair";

// Where everything is in tile memory of the job under way. These are globals of an instance, which has one thread: 19
// addresses and flags that nearly every function here needs.

// Of a panel and a tile of keys: scores, then weights; gradients of the weights, then of the scores; and what a cap
// multiplies these by; each [keys][8]. Then the tile's header, as in forward.
let scores: usize = 0;
let dScores: usize = 0;
let caps: usize = 0;
let unchanged: usize = 0; // scores before a score function changes them, where there are such
let tile: Tile = changetype<Tile>(0);
// Of a tile of keys: panels [keys / 4][dim][4] of keys and values, columns [dim / 4][keys][4] of keys.
let keyPanels: usize = 0;
let valuePanels: usize = 0;
let keyColumns: usize = 0;
// Of a tile of rows: panels of eight with their state, where dO stands in the place of o; columns
// [dim / 4][rows][4] of queries and dO; and, of eight keys each, [rows][8] of weights and of gradients of scores.
let panels: usize = 0;
let queryColumns: usize = 0;
let outColumns: usize = 0;
let transposedWeights: usize = 0;
let transposedDScores: usize = 0;
// Of eight keys each, the first row of the tile that sees any of them, and the one behind the last.
let spans: usize = 0;
// Where two panels at once have what is the second one's: a record, then its scores and gradients.
let pairs: usize = 0;

// What is known of the tiles under way.
let keyCount: usize = 0; // of the tile, whose first is a multiple of 8
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
  tile = changetype<Tile>(scores + (keys << 5));
  dScores = scores + tileBytes(keys);
  caps = dScores + (keys << 5);
  unchanged = caps + (keys << 5);
  keyPanels = unchanged + (SCORED ? keys << 5 : 0);
  valuePanels = keyPanels + (keys * dim << 2);
  keyColumns = valuePanels + (keys * valueDim << 2);
  panels = keyColumns + (keys >> 3) * gradientBytes(dim);
  queryColumns = panels + perRows * panelBytes(job);
  outColumns = queryColumns + perRows * gradientBytes(dim);
  transposedWeights = outColumns + perRows * gradientBytes(valueDim);
  transposedDScores = transposedWeights + (keys * rows << 2);
  spans = transposedDScores + (keys * rows << 2);
  pairs = (spans + keys + 63) & ~63;
  return WIDE ? pairs + PAIR_BYTES + (keys << 6) : pairs;
}

// Bytes of tile memory that the job needs, at 16-byte alignment.
export function gradientScratchBytes(job: Job): usize {
  return layOut(job, 0) + (SCORED ? workBytes(job) : 0);
}

// The rows of keys, of values, and of dO.

// @ts-ignore: decorator
@inline
function keysOf(gradient: Gradient): HeadRows {
  return changetype<HeadRows>(changetype<usize>(gradient) + offsetof<Gradient>("k"));
}

// @ts-ignore: decorator
@inline
function valuesOf(gradient: Gradient): HeadRows {
  return changetype<HeadRows>(changetype<usize>(gradient) + offsetof<Gradient>("v"));
}

// @ts-ignore: decorator
@inline
function dOutOf(gradient: Gradient): GroupRows {
  return changetype<GroupRows>(changetype<usize>(gradient) + offsetof<Gradient>("dOut"));
}

// Keys and values of a tile, in the forms that products need.
function packTile(job: Job, gradient: Gradient): void {
  const dim = job.dim, columns = job.tileKeys << 4, keys = keysOf(gradient), values = valuesOf(gradient);
  const k = keys.at + tile.first * keys.row, v = values.at + tile.first * values.row;
  packKeys(keys, k, keyPanels, dim, keyCount);
  if (WEIGHTS) return;
  packValues(keys, k, keyColumns, columns, dim, keyCount);
  packKeys(values, v, valuePanels, job.valueDim, keyCount);
  keysAreFinite = 0;
}

// Columns [width / 4][..][4] of eight rows from panel[width][8]; what lies beyond `width` is 0.
function transposePanel(panel: usize, width: usize, target: usize, columns: usize): void {
  const zero = f32x4.splat(0);
  for (let at: usize = 0; at < width; at += 4) {
    for (let half: usize = 0; half < 32; half += 16) {
      const from = panel + (at << 5) + half, to = target + (half << 2);
      const a = v128.load(from), b = at + 1 < width ? v128.load(from, 32) : zero;
      const c = at + 2 < width ? v128.load(from, 64) : zero, d = at + 3 < width ? v128.load(from, 96) : zero;
      storeTransposed(to, 16, a, b, c, d);
    }
    target += columns;
  }
}

// What a row's weights are computed from: its lse as scores are, its delta, and the factor of its dO.
function placeSums(job: Job, gradient: Gradient, state: State, row: usize): void {
  const at = rowOf(0, job.lsePosition, job.lseHead, row, job.group);
  store<f32>(state.m, load<f32>(job.lse + at));
  store<f32>(state.l, load<f32>(gradient.delta + at));
  store<f32>(state.shift, load<f32>(gradient.factor + at));
}

// panel[width][8] times a factor for each of its rows.
function scalePanel(panel: usize, width: usize, factors: usize): void {
  const low = v128.load(factors), high = v128.load(factors, 16);
  for (const end = panel + (width << 5); panel < end; panel += 32) {
    v128.store(panel, f32x4.mul(v128.load(panel), low));
    v128.store(panel, f32x4.mul(v128.load(panel, 16), high), 16);
  }
}

// The panels of the tile's rows, and their columns.
function prepareRows(job: Job, gradient: Gradient): void {
  const dim = job.dim, valueDim = job.valueDim, group = job.group, end = tile.endRow;
  const stride = panelBytes(job), columns = job.tileRows << 4, queries = queriesOf(job), dOut = dOutOf(gradient);
  let panel = panels, byte: usize = 0;
  for (let row = tile.firstRow; row < end; row += PANEL, panel += stride, byte += PANEL << 4) {
    const o = outputOf(job, panel), state = stateOf(job, panel);
    packPanel(
      queries, panel, dim, job.scale, fourRowsOf(queries, row, end, group), fourRowsOf(queries, row + 4, end, group),
    );
    packPanel(dOut, o, valueDim, 1, fourRowsOf(dOut, row, end, group), fourRowsOf(dOut, row + 4, end, group));
    for (let lane: usize = 0; lane < PANEL; lane++) {
      const at = state.lane(lane), placed = min(row + lane, end - 1);
      placeRow(job, at, placed);
      placeSums(job, gradient, at, placed);
      // What only fills the panel sees nothing.
      if (row + lane >= end) store<i32>(at.bounds, load<i32>(at.bounds), 32);
    }
    scalePanel(o, valueDim, state.shift);
    if (!WEIGHTS) transposePanel(panel, dim, queryColumns + byte, columns);
    transposePanel(o, valueDim, outColumns + byte, columns);
  }
  rowsAreFinite = 0;
}

// Whether keys of the tile may be multiplied by 0; looked up once.
function tileKeysAreFinite(job: Job): bool {
  if (keysAreFinite == 0) {
    const columns = job.tileKeys << 4;
    keysAreFinite = finiteValues<f32>(keyColumns, 16, columns, job.dim, 0, keyCount) ? FINITE : NOT_FINITE;
  }
  return keysAreFinite == FINITE;
}

// The same of a tile's queries and dO.
function tileRowsAreFinite(job: Job, rows: usize): bool {
  if (rowsAreFinite == 0) {
    const columns = job.tileRows << 4;
    const are = (WEIGHTS || finiteValues<f32>(queryColumns, 16, columns, job.dim, 0, rows)) &&
      finiteValues<f32>(outColumns, 16, columns, job.valueDim, 0, rows);
    rowsAreFinite = are ? FINITE : NOT_FINITE;
  }
  return rowsAreFinite == FINITE;
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
function differentiateScores(state: State, keys: usize, masked: bool): void {
  const delta0 = v128.load(state.l), delta1 = v128.load(state.l, 16), zero = f32x4.splat(0);
  for (let at: usize = 0; at < keys << 5; at += 32) {
    const p0 = v128.load(scores + at), p1 = v128.load(scores + at, 16);
    let d0 = f32x4.mul(p0, f32x4.sub(v128.load(dScores + at), delta0));
    let d1 = f32x4.mul(p1, f32x4.sub(v128.load(dScores + at, 16), delta1));
    if (masked) {
      d0 = v128.and(d0, f32x4.ne(p0, zero));
      d1 = v128.and(d1, f32x4.ne(p1, zero));
    }
    v128.store(dScores + at, d0);
    v128.store(dScores + at, d1, 16);
  }
}

// dS times what its scores were capped by.
function capDScores(keys: usize): void {
  const zero = f32x4.splat(0);
  for (let at: usize = 0; at < keys << 5; at += 16) {
    const kept = f32x4.ne(v128.load(scores + at), zero);
    const d = f32x4.mul(v128.load(dScores + at), v128.load(caps + at));
    v128.store(dScores + at, v128.and(d, kept));
  }
}

// source[keys][8 rows] becomes, for each eight keys, [8 rows][8 keys], `stride` bytes from one eight to the next.
function transpose(source: usize, groups: usize, target: usize, stride: usize): void {
  for (; groups > 0; groups--) {
    for (let quarter: usize = 0; quarter < 4; quarter++) {
      const keys = (quarter & 1) << 7, rows = (quarter >> 1) << 4;
      const from = source + keys + rows, to = target + (rows << 3) + (keys >> 3);
      const a = v128.load(from), b = v128.load(from, 32), c = v128.load(from, 64), d = v128.load(from, 96);
      storeTransposed(to, 32, a, b, c, d);
    }
    source += 256;
    target += stride;
  }
}

// Rows of a tile's eights up to `end`, from `from` on, see none of these keys.
function clearRows(eight: usize, stride: usize, from: usize, end: usize): void {
  memory.fill(transposedWeights + eight * stride + (from << 5), 0, (end - from) << 5);
  memory.fill(transposedDScores + eight * stride + (from << 5), 0, (end - from) << 5);
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

// Gradients of a bias: those of the scores, before caps, of a panel's rows from `row` on.
function addToBias(job: Job, gradient: Gradient, row: usize): void {
  const stride = job.tileRows << 5, from = tile.begin, to = tile.end, perKey = gradient.dBiasKey;
  const rest = gradient.dBiasRest, last = min(row + PANEL, tile.endRow);
  let rows = transposedDScores + ((row - tile.firstRow) << 5) + (tile.skipped >> 3) * stride;
  for (; row < last; row++, rows += 32) {
    const target = rowOf(gradient.dBias, gradient.dBiasPosition, gradient.dBiasHead, row, job.group) + from * perKey;
    let lane = rows;
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
        let dScore = v128.load(lane + half);
        if (rest != 0) {
          dScore = f32x4.add(dScore, v128.load(at + half + rest));
          v128.store(at + half + rest, lostBy(sum, dScore));
        }
        v128.store(at + half, f32x4.add(sum, dScore));
      }
    }
  }
}

// The keys that a panel looks at, as columns.
function seenColumns(job: Job): Columns {
  const keys = tile.summed;
  keys.at = keyColumns + (tile.skipped << 4);
  keys.row = 16;
  keys.columns = job.tileKeys << 4;
  keys.count = tile.count;
  keys.skipped = tile.skipped;
  return keys;
}

// Whether all rows of a panel see all keys that the tile of rows visits, which are whole eights.
function seesAll(state: State): bool {
  return findSeen(tile, state, 8) && tile.begin == tile.from && tile.fullFrom == tile.from && tile.fullTo == tile.to &&
    (tile.count & 7) == 0;
}

// The weights of a panel that no mask is for, and the gradients of its scores, in place of scores and gradients of weights;
// both are also transposed.
function weigh(job: Job, state: State, inTile: usize): void {
  const keys = tile.count, eights = keys >> 3, eight = tile.skipped >> 3, stride = job.tileRows << 5;
  const to = eight * stride + (inTile << 5);
  biasScores(job, state, scores, tile.begin, tile.end, 0);
  gradients_f32_4x8(scores, keys, toBaseFour(scores, keys, state.m, job.unit), state.l, dScores);
  transpose(scores, eights, transposedWeights + to, stride);
  transpose(dScores, eights, transposedDScores + to, stride);
  extendSpans(eight, eights, stride, inTile);
}

// Two panels at once in the wide program, where that is all there is to them: see wide/pair.ts. Returns whether it was done.
function differentiatePair(job: Job, row: usize, dq: usize): bool {
  const dim = job.dim, valueDim = job.valueDim, inTile = row - tile.firstRow, bytes = panelBytes(job);
  const panel = panels + (inTile >> 3) * bytes, other = panel + bytes;
  const left = stateOf(job, panel), right = stateOf(job, other);
  if (job.softcap != 0 || job.bias != 0 || hasMasks(job, tile) || !seesAll(left) || !seesAll(right)) return false;
  const pair = changetype<Pair>(pairs), skipped = tile.skipped, groups = tile.groups, ownScores = scores, own = dScores;
  const otherScores = pairs + PAIR_BYTES, others = otherScores + (job.tileKeys << 5);
  pair.left = panel;
  pair.right = other;
  pair.apart = otherScores - scores;
  dotPairs(keyPanels + skipped * (dim << 2), scores, dim, groups, pair);
  pair.left = outputOf(job, panel);
  pair.right = outputOf(job, other);
  pair.apart = others - own;
  dotPairs(valuePanels + skipped * (valueDim << 2), own, valueDim, groups, pair);
  weigh(job, left, inTile);
  scores = otherScores;
  dScores = others;
  weigh(job, right, inTile + PANEL);
  scores = ownScores;
  dScores = own;
  addPair(seenColumns(job), own, others, dq, gradientBytes(dim), pair);
  return true;
}

// Sums of columns times two panels that have so many bytes of them each, one behind the other.
function addPair(columns: Columns, p: usize, others: usize, o: usize, bytes: usize, pair: Pair): void {
  pair.right = others;
  pair.leftAlpha = pair.rightAlpha = ONES;
  pair.apart = bytes;
  accumulatePairs(columns, p, o, o + bytes, pair);
}

// The weights of a panel, in place of its scores.
function weighPanel(state: State, keys: usize, shift: usize, masked: bool): void {
  const pass = tile.powers;
  pass.width = 32;
  pass.alpha = ONES;
  powers_f32_4x4(scores, keys, shift, state.alpha, pass);
  // Also those of a row whose lse is NaN.
  if (masked) mask.setUnseen(scores, tile.lanes, keys, 0);
}

// A gradient of one column is summed in four for each key, one behind the other, and without a transpose: rows r and
// r + 4 of a panel in the same.

// Adds weights times the one column of dO, of a panel's `keys`.
function sumPanel(o: usize, keys: usize, target: usize): void {
  const low = v128.load(o), high = v128.load(o, 16);
  for (let s = scores, end = scores + (keys << 5); s < end; s += 32, target += 16) {
    v128.store(target, fma(v128.load(s), low, fma(v128.load(s, 16), high, v128.load(target))));
  }
}

// The sums of a job's keys as they are summed: the first of each four is what there is.
function spreadSums(at: usize, eights: usize): void {
  for (const end = at + eights * gradientBytes(1); at < end; at += gradientBytes(1)) {
    for (let key: usize = 8; key-- > 0;) {
      v128.store(at + (key << 4), f32x4.replace_lane(f32x4.splat(0), 0, f32.load(at + (key << 2))));
    }
  }
}

// As they are elsewhere: eight sums side by side.
function gatherSums(at: usize, eights: usize): void {
  for (const end = at + eights * gradientBytes(1); at < end; at += gradientBytes(1)) {
    for (let key: usize = 0; key < 8; key++) {
      const four = at + (key << 4);
      const sum = (f32.load(four) + f32.load(four, 4)) + (f32.load(four, 8) + f32.load(four, 12));
      f32.store(at + (key << 2), sum);
    }
  }
}

// Those of a part, and of the parts before it.
function spreadAll(gradient: Gradient): void {
  const eights = (gradient.to - gradient.from + 7) >> 3, sums = gradient.sums;
  spreadSums(gradient.dv, eights);
  if (sums != 0) spreadSums(gradient.dv + sums, eights);
}

function gatherAll(gradient: Gradient): void {
  const eights = (gradient.to - gradient.from + 7) >> 3, sums = gradient.sums;
  gatherSums(gradient.dv, eights);
  if (sums != 0) gatherSums(gradient.dv + sums, eights);
}

// One panel, of the rows from `row` on, against the keys that the tile of rows visits.
function differentiatePanel(job: Job, gradient: Gradient, row: usize, dq: usize): void {
  const dim = job.dim, valueDim = job.valueDim, splats = job.splats, inTile = row - tile.firstRow;
  const panel = panels + (inTile >> 3) * panelBytes(job), o = outputOf(job, panel), state = stateOf(job, panel);
  const lanes = tile.lanes, stride = job.tileRows << 5;
  if (SCORED ? !findSeenKeys(job, tile, state, row, 8) : !findSeen(tile, state, 8)) return;
  const begin = tile.begin, end = tile.end, eights = (end - begin + 7) >> 3, keys = eights << 3;
  const skipped = tile.skipped, padded = begin + keys;

  // Masks. Bounds alone leave whole tiles in most cases.
  let masked = tile.fullFrom > begin || tile.fullTo < padded, hasLanes = hasMasks(job, tile);
  if (hasLanes) {
    const kind = readMasks(job, tile, state, row);
    if (kind == mask.SKIP) return;
    masked = masked || kind == mask.MIXED;
  }

  // Scores.
  dotPanels(splats, keyPanels + skipped * (dim << 2), panel, scores, dim, eights << 1);
  if (SCORED) {
    memory.copy(unchanged, scores, keys << 5);
    if (!hasLanes) mask.seeAll(lanes, keys);
    hasLanes = true;
    changeScores(job, tile, row, true);
  }
  capScores(job, scores, keys);
  if (!WEIGHTS && job.softcap != 0) keepCaps(job, keys);
  // Rows of a bias may be read up to a multiple of 4.
  if (biasScores(job, state, scores, begin, (end + 3) & ~3, 0)) {
    if (!hasLanes) mask.seeAll(lanes, keys);
    mask.seeFinite(lanes, state.biasRows, begin, end);
    hasLanes = masked = true;
  }
  // A cap shows no score of -Infinity any more, but lanes do.
  if (SCORED && (maskGradients(job, tile, row, keys) || job.softcap != 0)) masked = true;
  if (masked) {
    if (!hasLanes) mask.seeAll(lanes, keys);
    mask.seeWithin(lanes, tile.bounds, <i32>begin, <i32>padded);
    mask.maskScores(scores, lanes, keys);
  }
  const shift = SCORED ? state.m : toBaseFour(scores, keys, state.m, job.unit);
  isMixed = isMixed || masked;
  if (WEIGHTS) {
    weighPanel(state, keys, shift, masked);
    if (valueDim == 1) {
      sumPanel(o, keys, ofTile(gradient, gradient.dv, 1) + (skipped << 4));
      return;
    }
    transpose(scores, eights, transposedWeights + (skipped >> 3) * stride + (inTile << 5), stride);
    extendSpans(skipped >> 3, eights, stride, inTile);
    return;
  }

  // The weights that forward had, and the gradients of the scores.
  dotPanels(splats, valuePanels + skipped * (valueDim << 2), o, dScores, valueDim, eights << 1);
  const eight = skipped >> 3, to = eight * stride + (inTile << 5), isCapped = job.softcap != 0;
  const weightsTo = transposedWeights + to, dScoresTo = transposedDScores + to, pass = tile.powers;
  pass.width = 32;
  if (SCORED) pass.units = job.unit / 2;
  // Before scores changed, or were capped, gradients are others, and those of a bias are none of them.
  const isChanged = isCapped || SCORED, isAsked = !isChanged || gradient.dBias != 0;
  if (masked || isCapped) {
    pass.alpha = ONES;
    powers_f32_4x4(scores, keys, shift, state.alpha, pass);
    // Also those of a row whose lse is NaN.
    if (masked) mask.setUnseen(scores, lanes, keys, 0);
    differentiateScores(state, keys, masked);
    transpose(scores, eights, weightsTo, stride);
    if (isAsked) transpose(dScores, eights, dScoresTo, stride);
  } else if (WIDE) {
    gradients_f32_4x8(scores, keys, shift, state.l, dScores);
    transpose(scores, eights, weightsTo, stride);
    transpose(dScores, eights, dScoresTo, stride);
  } else {
    pass.alpha = 0;
    pass.dScores = dScores;
    pass.transposedWeights = weightsTo;
    pass.transposedDScores = dScoresTo;
    pass.stride = stride;
    powers_f32_4x4(scores, keys, shift, state.l, pass);
  }
  if (gradient.dBias != 0) addToBias(job, gradient, row);
  if (isCapped) capDScores(keys);
  if (SCORED) differentiateChange(job, tile, row, unchanged, dScores);
  if (isChanged) transpose(dScores, eights, dScoresTo, stride);
  extendSpans(eight, eights, stride, inTile);

  // dQ.
  const k = seenColumns(job);
  if (masked && !tileKeysAreFinite(job)) accumulateWeighted(k, dim, dScores, dq);
  else accumulateColumns(splats, k, dScores, dq, dq + gradientBytes(dim), ONES);
}

// dK, or dV, of the visited keys' eights: sums of a tile's columns over rows, by what was transposed; into `target`,
// which begins with the tile's first key.
function accumulateKeys(job: Job, columns: usize, transposed: usize, target: usize, width: usize): void {
  const stride = job.tileRows << 5, bytes = gradientBytes(width), v = tile.summed;
  const harmless = !isMixed || tileRowsAreFinite(job, tile.endRow - tile.firstRow);
  v.row = 16;
  v.columns = job.tileRows << 4;
  for (let eight = firstEight(), last = endEight(); eight < last; eight++) {
    const span = spans + (eight << 3), first = <usize>load<u32>(span), end = <usize>load<u32>(span, 4);
    if (end == 0) continue;
    const p = transposed + eight * stride + (first << 5), o = target + eight * bytes;
    v.at = columns + (first << 4);
    v.count = end - first;
    v.skipped = first;
    if (WIDE && harmless && eight + 1 < last && load<u64>(span) == load<u64>(span, 8)) {
      addPair(v, p, p + stride, o, bytes, changetype<Pair>(pairs));
      eight++;
    } else if (harmless) accumulateColumns(job.splats, v, p, o, o + bytes, ONES);
    else accumulateWeighted(v, width, p, o);
  }
}

// Which eights of the tile's keys are visited.

// @ts-ignore: decorator
@inline
function firstEight(): usize {
  return (tile.from - tile.first) >> 3;
}

// @ts-ignore: decorator
@inline
function endEight(): usize {
  return (tile.to - tile.first + 7) >> 3;
}

// A tile of rows against the keys from..to of the tile of keys.
function differentiateKeys(job: Job, gradient: Gradient, from: usize, to: usize, dq: usize): void {
  tile.from = from;
  tile.to = to;
  if (!mayMeet(job, tile) || (SCORED && !beginKeys(job, tile))) return;
  if (!isPrepared) prepareRows(job, gradient);
  isPrepared = true;
  isMixed = false;
  memory.fill(spans + (firstEight() << 3), 0, (endEight() - firstEight()) << 3);
  const bytes = gradientBytes(job.dim);
  for (let row = tile.firstRow; row < tile.endRow; row += PANEL, dq += bytes) {
    if (WIDE && row + PANEL < tile.endRow && differentiatePair(job, row, dq)) {
      row += PANEL;
      dq += bytes;
    } else differentiatePanel(job, gradient, row, dq);
  }
  if (!WEIGHTS) {
    accumulateKeys(job, queryColumns, transposedDScores, ofTile(gradient, gradient.dk, job.dim), job.dim);
  }
  if (WEIGHTS && job.valueDim == 1) return;
  accumulateKeys(job, outColumns, transposedWeights, ofTile(gradient, gradient.dv, job.valueDim), job.valueDim);
}

// The tile's gradients among those of a chunk.

// @ts-ignore: decorator
@inline
function ofTile(gradient: Gradient, chunk: usize, width: usize): usize {
  return chunk + ((tile.first - gradient.from) >> 3) * gradientBytes(width);
}

// A tile of rows against the tile of keys.
function differentiateTile(job: Job, gradient: Gradient, dq: usize): void {
  const firstKey = tile.first, lastKey = firstKey + keyCount;
  isPrepared = false;
  if (SCORED) beginRows(job, tile);
  if (job.keyIntervals == 0) {
    differentiateKeys(job, gradient, firstKey, lastKey, dq);
    return;
  }
  const list = intervalsOf(job, tile.firstRow), last = <usize>load<u32>(list, 4);
  for (let at = <usize>load<u32>(list); at < last; at += offsetof<KeyInterval>()) {
    const interval = changetype<KeyInterval>(at);
    const from = max(interval.from, firstKey), to = min(interval.to, lastKey);
    tile.interval = at;
    if (from < to) differentiateKeys(job, gradient, from, to, dq);
  }
}

// The end of the tile of rows that begins at `row`: no tile crosses a unit either.
function unitEnd(job: Job, gradient: Gradient, row: usize): usize {
  const unit = gradient.unit;
  return min(tileEnd(job, row), (row / unit + 1) * unit);
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
  const sums = gradient.sums, eights = (keyCount + 7) >> 3;
  const dk = ofTile(gradient, gradient.dk, job.dim), dv = ofTile(gradient, gradient.dv, job.valueDim);
  addPart(dk, dk + sums, eights * gradientBytes(job.dim));
  addPart(dv, dv + sums, eights * gradientBytes(job.valueDim));
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
  const end = layOut(job, scratch);
  tile.interval = 0;
  tile.isKept = false;
  if (SCORED) {
    tile.s = scores;
    tile.work = end;
    beginScores(job, tile);
  }
  if (WEIGHTS && job.valueDim == 1) spreadAll(gradient);
  for (let key = from; key < to; key += tileKeys) {
    tile.first = key;
    keyCount = min(tileKeys, to - key);
    packTile(job, gradient);
    let dq = gradient.dq;
    for (let first: usize = 0, end: usize = 0; first < rows; first = end) {
      end = unitEnd(job, gradient, first);
      tile.firstRow = first;
      tile.endRow = end;
      const count = panelsIn(first, end) * bytes;
      if (!WEIGHTS && key == from) memory.fill(dq, 0, count);
      differentiateTile(job, gradient, dq);
      if (gradient.sums != 0 && endsPart(gradient, end)) addParts(job, gradient);
      dq += count;
    }
  }
  if (WEIGHTS && job.valueDim == 1) gatherAll(gradient);
}

// The jobs of a chain, one after the other: those of a group's query heads, where each has a mask of its own.
export function differentiate(first: Job, scratch: usize): void {
  for (let at = changetype<usize>(first); at != 0;) {
    const job = changetype<Job>(at);
    differentiateJob(job, scratch);
    at = changetype<Gradient>(job.gradient).next;
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
    end = unitEnd(job, gradient, first);
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

// dK or dV of `count` keys, times `factor`, as rows. Sums of earlier parts are `sums` bytes behind those of the last,
// if there are any.
export function finishKeys(
  rows: HeadRows, source: usize, sums: usize, width: usize, factor: f32, count: usize,
): void {
  if (sums != 0) addPart(source, source + sums, ((count + 7) >> 3) * gradientBytes(width));
  source += sums;
  const row = rows.row, factors = f32x4.splat(factor);
  for (let key: usize = 0, at = rows.at; key < count; key += 4, at += 4 * row) {
    const eight = source + (key >> 3) * gradientBytes(width) + ((key & 4) << 2);
    unpackFourRows(rows, addresses(at, at + row, at + 2 * row, at + 3 * row), eight, factors, width, count - key);
  }
}
