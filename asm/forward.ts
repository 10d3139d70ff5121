// FlashAttention, forward (Dao et al., arXiv 2205.14135, algorithm 1, in the loop order of
// arXiv 2307.08691): query tiles outside, key tiles inside, online softmax, one division at the end.
//
// A query tile holds panels of eight rows. Scores are computed transposed, s[keys][8 queries], so
// that the softmax goes down the lanes and its weights are at once the second product's operand:
// nothing is transposed between the two products, and o[dim][8 queries] is turned back into rows
// only once, at the end. What one panel touches per key tile (s, its queries, its o) stays in L1,
// the tile's keys and values in L2.
//
// Rows are numbered position-major: row r is group member r % group at position r / group. Grouped
// heads thus share each loaded key, and neighbouring rows have neighbouring bounds.

import { accumulate_f32_4x8, accumulate_f32_4x8_splat1, accumulate_f32_4x8_splat4 } from "./accumulate.gen";
import { dot_f32_4x8, dot_f32_4x8_splat1, dot_f32_4x8_splat4 } from "./dot.gen";
import { fma } from "./fma";
import * as job from "./job.gen";
import { PANEL, packQueries, unpackRows } from "./layout";
import { finiteValues, maskScores, visible } from "./mask";
import { mergePanel } from "./merge";
import { softmax } from "./softmax";

const LN_2: f64 = 0.6931471805599453;
const OPEN: i32 = i32.MAX_VALUE;

// Tile memory, per panel: queries [dim][8], o [valueDim up to a multiple of 4][8], and the rows'
// state of 8 lanes each: m, l, alpha, first, end and the softmax's scratch. Before them, one panel's
// scores [tileKeys][8].

const STATE: usize = 6 * 32;

// @ts-ignore: decorator
@inline
function panelBytes(record: usize): usize {
  return (job.dim(record) << 5) + (((job.valueDim(record) + 3) & ~3) << 5) + STATE;
}

// Bytes of tile memory that the job needs, at 16-byte alignment.
export function scratchBytes(record: usize): usize {
  return (job.tileRows(record) / PANEL) * panelBytes(record) + (job.tileKeys(record) << 5);
}

// Address of a row in an array of [positions][group].

// @ts-ignore: decorator
@inline
function rowOf(base: usize, position: usize, head: usize, row: usize, group: usize): usize {
  return base + (row / group) * position + (row % group) * head;
}

// The keys that a row sees: first <= j < end. Writes both lanes' bounds.
function setBounds(record: usize, bounds: usize, row: usize): void {
  const keys = <i64>job.keys(record);
  const aligned = <i64>(row / job.group(record)) + <i64>job.diagonal(record);
  const left = job.bandLeft(record), right = job.bandRight(record);
  const first = left == OPEN ? 0 : min(max(aligned - left, 0), keys);
  const end = right == OPEN ? keys : min(max(aligned + right + 1, 0), keys);
  store<i32>(bounds, <i32>first);
  store<i32>(bounds, <i32>max(first, end), 32);
}

// Queries of one panel: q[dim][8] times scale, and the rows' empty state. Rows past the last repeat
// it, so that they neither widen the panel's bounds nor need a case of their own.
function beginPanel(record: usize, panel: usize, firstRow: usize, rows: usize): void {
  const dim = job.dim(record), group = job.group(record);
  const base = job.q(record), position = job.qPosition(record), head = job.qHead(record);
  const o = panel + (dim << 5), oBytes = ((job.valueDim(record) + 3) & ~3) << 5;
  const state = o + oBytes, bounds = state + 96;
  for (let lane: usize = 0; lane < PANEL; lane += 4) {
    packQueries(
      job.qStorage(record),
      rowOf(base, position, head, min(firstRow + lane, rows - 1), group),
      rowOf(base, position, head, min(firstRow + lane + 1, rows - 1), group),
      rowOf(base, position, head, min(firstRow + lane + 2, rows - 1), group),
      rowOf(base, position, head, min(firstRow + lane + 3, rows - 1), group),
      job.qElement(record), panel + (lane << 2), 32, dim, job.scale(record),
    );
  }
  for (let lane: usize = 0; lane < PANEL; lane++) {
    setBounds(record, bounds + (lane << 2), min(firstRow + lane, rows - 1));
  }
  memory.fill(o, 0, oBytes);
  v128.store(state, f32x4.splat(-Infinity));
  v128.store(state, f32x4.splat(-Infinity), 16);
  memory.fill(state + 32, 0, 32);
}

// o += v^T p for keys that some query of the panel must not see and whose values are not all
// finite: 0 * NaN would leave a trace. The same sums as accumulate(), value by value.
function accumulateVisible(
  v: usize, row: usize, columns: usize, dim: usize, p: usize, o: usize, alpha: usize,
  bounds: usize, from: usize, to: usize,
): void {
  const alpha0 = v128.load(alpha), alpha1 = v128.load(alpha, 16);
  for (let column: usize = 0; column < dim; column++) {
    let c0 = f32x4.mul(alpha0, v128.load(o)), c1 = f32x4.mul(alpha1, v128.load(o, 16));
    const values = v + (column >> 2) * columns + ((column & 3) << 2);
    for (let key = from; key < to; key++) {
      const x = v128.load_splat<f32>(values + key * row), weights = p + ((key - from) << 5);
      c0 = fma(v128.and(x, visible(bounds, <i32>key)), v128.load(weights), c0);
      c1 = fma(v128.and(x, visible(bounds + 16, <i32>key)), v128.load(weights, 16), c1);
    }
    v128.store(o, c0);
    v128.store(o, c1, 16);
    o += 32;
  }
}

// @ts-ignore: decorator
@inline
function smallest(lanes: usize): i32 {
  let x = load<i32>(lanes);
  for (let lane: usize = 4; lane < 32; lane += 4) x = min(x, load<i32>(lanes + lane));
  return x;
}

// @ts-ignore: decorator
@inline
function largest(lanes: usize): i32 {
  let x = load<i32>(lanes);
  for (let lane: usize = 4; lane < 32; lane += 4) x = max(x, load<i32>(lanes + lane));
  return x;
}

// One panel against the keys from..to of a tile, of which it visits those that some row sees.
function attend(record: usize, panel: usize, s: usize, tileFrom: usize, tileTo: usize): void {
  const dim = job.dim(record), valueDim = job.valueDim(record);
  const o = panel + (dim << 5), state = o + (((valueDim + 3) & ~3) << 5);
  const m = state, l = state + 32, alpha = state + 64, bounds = state + 96;
  const splats = job.splats(record);

  const from = max<usize>(tileFrom, smallest(bounds) & ~3);
  const to = min<usize>(tileTo, largest(bounds + 32));
  if (from >= to) return;

  // Scores, four keys at a time.
  const groups = (to - from + 3) >> 2;
  let k = job.k(record) + (from >> 2) * (dim << 4), at = s;
  for (let group: usize = 0; group < groups; group++) {
    if (splats == 4) dot_f32_4x8_splat4(k, panel, at, dim);
    else if (splats == 1) dot_f32_4x8_splat1(k, panel, at, dim);
    else dot_f32_4x8(k, panel, at, dim);
    k += dim << 4;
    at += 128;
  }

  // Mask: every row sees the keys fullFrom..fullTo, the others are looked at one by one.
  const padded = from + (groups << 2);
  const fullFrom = min<usize>(max<usize>(from, largest(bounds)), to);
  const fullTo = max<usize>(min<usize>(to, smallest(bounds + 32)), fullFrom);
  if (from < fullFrom) maskScores(s, bounds, <i32>from, <i32>fullFrom);
  if (fullTo < padded) maskScores(s + ((fullTo - from) << 5), bounds, <i32>fullTo, <i32>padded);

  softmax(s, groups << 2, m, l, alpha, state + 160);

  // Values, four columns at a time.
  let v = job.v(record);
  const row = job.vKey(record), columns = job.vColumns(record);
  if (
    (from < fullFrom && !finiteValues(v, row, columns, valueDim, from, fullFrom)) ||
    (fullTo < to && !finiteValues(v, row, columns, valueDim, fullTo, to))
  ) {
    accumulateVisible(v, row, columns, valueDim, s, o, alpha, bounds, from, to);
    return;
  }
  v += from * row;
  for (let at = o; at < state; at += 128) {
    if (splats == 4) accumulate_f32_4x8_splat4(v, row, s, at, alpha, to - from);
    else if (splats == 1) accumulate_f32_4x8_splat1(v, row, s, at, alpha, to - from);
    else accumulate_f32_4x8(v, row, s, at, alpha, to - from);
    v += columns;
  }
}

// Epilogue: out = o / l, lse = ln(2) m + ln(l); a row that saw nothing gives 0 and -inf.
function endPanel(record: usize, panel: usize, firstRow: usize, rows: usize): void {
  const valueDim = job.valueDim(record), group = job.group(record);
  const o = panel + (job.dim(record) << 5), state = o + (((valueDim + 3) & ~3) << 5);
  const base = job.out(record), position = job.outPosition(record), head = job.outHead(record);
  const last = rows - 1, one = f32x4.splat(1);
  for (let lane: usize = 0; lane < PANEL; lane += 4) {
    const row = firstRow + lane;
    if (row >= rows) break;
    const l = v128.load(state + 32 + (lane << 2)), inverse = state + 64;
    v128.store(inverse, v128.andnot(f32x4.div(one, l), f32x4.eq(l, f32x4.splat(0))));
    unpackRows(
      job.outStorage(record),
      o + (lane << 2), 32, inverse, valueDim,
      rowOf(base, position, head, row, group),
      rowOf(base, position, head, min(row + 1, last), group),
      rowOf(base, position, head, min(row + 2, last), group),
      rowOf(base, position, head, min(row + 3, last), group),
      job.outElement(record), rows - row,
    );
  }
  const lse = job.lse(record);
  if (lse == 0) return;
  for (let lane: usize = 0; lane < min(PANEL, rows - firstRow); lane++) {
    const m = <f64>load<f32>(state + (lane << 2)), l = <f64>load<f32>(state + 32 + (lane << 2));
    const at = rowOf(lse, job.lsePosition(record), job.lseHead(record), firstRow + lane, group);
    store<f32>(at, <f32>(l == 0 ? -Infinity : m * LN_2 + NativeMath.log(l)));
  }
}

// The job: every query row against every key that it sees. `scratch` is tile memory of the thread
// that runs it, of scratchBytes(). Where the record has a place for them, the panels are built there
// and left as they are, for merge().
export function forward(record: usize, scratch: usize): void {
  const rows = job.positions(record) * job.group(record);
  const tileRows = job.tileRows(record), tileKeys = job.tileKeys(record), keys = job.keys(record);
  const stride = panelBytes(record), kept = job.panels(record);
  const panels = kept == 0 ? scratch + (tileKeys << 5) : kept;
  for (let tile: usize = 0; tile < rows; tile += tileRows) {
    const end = min(tile + tileRows, rows);
    for (let row = tile, panel = panels; row < end; row += PANEL, panel += stride) {
      beginPanel(record, panel, row, end);
    }
    for (let from: usize = 0; from < keys; from += tileKeys) {
      const to = min(from + tileKeys, keys);
      for (let row = tile, panel = panels; row < end; row += PANEL, panel += stride) {
        attend(record, panel, scratch, from, to);
      }
    }
    if (kept != 0) continue;
    for (let row = tile, panel = panels; row < end; row += PANEL, panel += stride) {
      endPanel(record, panel, row, end);
    }
  }
}

// The end of a job that was split over keys: `parts` times the panels of one tile, one part after
// the other. They are merged in ascending order, whoever computed them.
export function merge(record: usize, parts: usize): void {
  const rows = job.positions(record) * job.group(record);
  const stride = panelBytes(record), part = ((rows + PANEL - 1) / PANEL) * stride;
  for (let row: usize = 0, panel = job.panels(record); row < rows; row += PANEL, panel += stride) {
    const o = panel + (job.dim(record) << 5), state = panel + stride - STATE;
    for (let skipped = part; skipped < parts * part; skipped += part) {
      mergePanel(o, state, o + skipped, state + skipped);
    }
    endPanel(record, panel, row, rows);
  }
}
