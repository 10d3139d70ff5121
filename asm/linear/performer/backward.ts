// Gradients of performer attention. With features a of queries and b of keys, n = a z the denominators and o = a S / n
// the results of rows:
//
//   delta = dO o / n,   da = S dO / n - delta z,   dS = a^T dO / n,   dz = -a^T delta,
//   dv = b dS,          db = dS v + dz,
//
// and of the exponents a da and b db, from which the projection leads to queries and keys; sums of a da over a row's
// features are 0, so that the squares of queries have no gradient. Where rows see no later keys, S and z are sums over
// keys before, from the first chunk on, and dS and dz sums over rows behind, from the last chunk back; products within a
// chunk are as in attention. Every sum is against the exponents of the features where it stands, so that none is large.

import { exp4, powers_f32_4x4 } from "../../exp.gen";
import { fma } from "../../fma";
import { packFourRows, packKeys, storeTransposed, unpackFourRows } from "../../layout";
import { accumulateColumns, dotPanels, ONES } from "../../products";
import { HeadRows, PerformerJob, PerformerPass } from "../../records.gen";
import { finiteMaximum } from "../../softmax";
import { rowsAt } from "../../rows/row";
import {
  fillBehind, fourRowsOf, keyExponents, originOf, packChunk, queryFeatures, rectify, rowsOfProjection, turnKeys,
} from "./features";
import {
  answerEight, clearState, fitsTogether, levelOf, seeChunk, seeSums, takeChunk, upToChunk, weighKeys, zeroBefore,
} from "./forward";
import { GradientWork, layOutGradients } from "./gradient_work";
import { addSums, clearSums, joinPlain, joinSums, sumsBytes, valuesOf, zOf } from "./sums";
import { CHUNK } from "./work";

// @ts-ignore: decorator
@inline
function passOf(job: PerformerJob): PerformerPass {
  return changetype<PerformerPass>(job.pass);
}

// @ts-ignore: decorator
@inline
function zero(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 16) v128.store(at, f32x4.splat(0));
}

// Eight rows side by side: what is behind their last column is 0.
function packEight(rows: HeadRows, at: usize, row: usize, end: usize, panel: usize, width: usize): void {
  packFourRows(rows, fourRowsOf(rows, at, row, end), panel, width, 1);
  packFourRows(rows, fourRowsOf(rows, at, row + 4, end), panel + 16, width, 1);
}

// The way back of `count` rows at most, times a factor.
function unpackEight(rows: HeadRows, at: usize, count: usize, panel: usize, width: usize, factor: f32): void {
  const by = f32x4.splat(factor);
  unpackFourRows(rows, fourRowsOf(rows, at, 0, count), panel, by, width, count);
  if (count > 4) unpackFourRows(rows, fourRowsOf(rows, at, 4, count), panel + 16, by, width, count - 4);
}

// to[features][8] += a[features / 8][count][8]^T b[count][8], `step` bytes from one eight of features to the next.
function addByFeatures(job: PerformerJob, work: GradientWork, a: usize, step: usize, b: usize, to: usize): void {
  const product = work.columnsOf;
  product.row = 32;
  product.columns = 16;
  for (const end = to + (work.features << 5); to < end; to += 256, a += step) {
    product.at = a;
    accumulateColumns(job.splats, product, b, to, to + 256, ONES);
  }
}

// Values of the chunk's keys, to be multiplied with gradients by results.
function packValuePanels(job: PerformerJob, work: GradientWork, from: usize): void {
  const v = rowsAt(job, offsetof<PerformerJob>("v"));
  packKeys(v, v.at + from * v.row, work.valuePanels, job.valueDim, work.count);
}

// Gradients by eight results, over denominators, whose inverses are in `alpha`.
function packResultGradients(job: PerformerJob, work: GradientWork, at: usize, row: usize, count: usize): void {
  const rows = rowsAt(passOf(job), offsetof<PerformerPass>("dOut")), panel = work.dResults, width = job.valueDim;
  packEight(rows, at, row, count, panel, width);
  zero(panel + (width << 5), work.columns - width << 5);
  const by = v128.load(work.alpha), by1 = v128.load(work.alpha, 16);
  for (let x = panel, end = panel + (width << 5); x < end; x += 32) {
    v128.store(x, f32x4.mul(by, v128.load(x)));
    v128.store(x, f32x4.mul(by1, v128.load(x, 16)), 16);
  }
}

// Their deltas over denominators.
function findDeltas(job: PerformerJob, work: GradientWork): void {
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    let sum = f32x4.splat(0), o = work.results + lanes;
    for (let x = work.dResults + lanes, end = x + (job.valueDim << 5); x < end; x += 32, o += 32) {
      sum = fma(v128.load(x), v128.load(o), sum);
    }
    v128.store(work.delta + lanes, f32x4.mul(sum, v128.load(work.alpha + lanes)));
  }
}

// Gradients by weights of the chunk's keys for eight rows from `row` on.
function differentiateWeights(job: PerformerJob, work: GradientWork, row: usize, seen: usize): void {
  const at = work.dWeights, d0 = v128.load(work.delta), d1 = v128.load(work.delta, 16);
  dotPanels(job.splats, work.valuePanels, work.dResults, at, job.valueDim, (seen + 3) >> 2);
  for (let x = at, end = at + (seen << 5); x < end; x += 32) {
    v128.store(x, f32x4.sub(v128.load(x), d0));
    v128.store(x, f32x4.sub(v128.load(x, 16), d1), 16);
  }
  for (let key = row + 1; key < seen; key++) zeroBefore(at + (key << 5), key - row);
}

// Gradients by features become those by exponents, or by products where these are above 0; returns sums over features
// of the first four rows, and leaves those of the others in `delta`.
function throughFeatures(job: PerformerJob, work: GradientWork, features: usize, gradients: usize): v128 {
  const isRelu = job.isRelu, apart = features - gradients, end = gradients + (work.features << 5);
  let s0 = f32x4.splat(0), s1 = s0, floor = originOf(job);
  for (let at = gradients; at < end; at += 32, floor += 4) {
    const a0 = v128.load(at + apart), a1 = v128.load(at + apart, 16), least = v128.load32_splat(floor);
    const d0 = v128.load(at), d1 = v128.load(at, 16);
    const x0 = isRelu ? v128.and(d0, f32x4.gt(a0, least)) : f32x4.mul(a0, d0);
    const x1 = isRelu ? v128.and(d1, f32x4.gt(a1, least)) : f32x4.mul(a1, d1);
    v128.store(at, x0);
    v128.store(at, x1, 16);
    s0 = f32x4.add(s0, x0);
    s1 = f32x4.add(s1, x1);
  }
  v128.store(work.delta, s1, 16);
  return s0;
}

// What gradients by exponents are of eight rows: [dim][8], over the root of the scale.
function throughProjection(job: PerformerJob, work: GradientWork, gradients: usize): void {
  const product = work.columnsOf, to = work.dQuery, bytes = (job.dim + 3 & ~3) << 5;
  zero(to, bytes);
  product.at = rowsOfProjection(job);
  product.row = 16;
  product.columns = work.features << 4;
  product.count = work.features;
  accumulateColumns(job.splats, product, gradients, to, to + bytes, ONES);
}

// Eight features of eight rows, or eight keys for them, row by row.

// @ts-ignore: decorator
@inline
function turnEight(from: usize, to: usize): void {
  for (let lanes: usize = 0; lanes < 32; lanes += 16, from += 128) {
    const a = v128.load(from), b = v128.load(from, 32), c = v128.load(from, 64), d = v128.load(from, 96);
    const a1 = v128.load(from, 16), b1 = v128.load(from, 48), c1 = v128.load(from, 80), d1 = v128.load(from, 112);
    storeTransposed(to + lanes, 32, a, b, c, d);
    storeTransposed(to + lanes + 128, 32, a1, b1, c1, d1);
  }
}

// Keeps what eight rows from `row` on have to do with keys.
function keepRows(work: GradientWork, row: usize): void {
  let to = work.rowFeatures + (row << 5);
  for (let at = work.queryFeatures, end = at + (work.features << 5); at < end; at += 256, to += CHUNK << 5) turnEight(at, to);
  to = work.rowResults + (row << 4);
  for (let at = work.dResults, end = at + (work.columns << 5); at < end; at += 128, to += CHUNK << 4) {
    storeTransposed(to, 16, v128.load(at), v128.load(at, 32), v128.load(at, 64), v128.load(at, 96));
    storeTransposed(to + 64, 16, v128.load(at, 16), v128.load(at, 48), v128.load(at, 80), v128.load(at, 112));
  }
  v128.store(work.rowDeltas + (row << 2), v128.load(work.delta));
  v128.store(work.rowDeltas + (row << 2), v128.load(work.delta, 16), 16);
}

// The same of weights of the chunk's keys.
function keepWeights(work: GradientWork, row: usize, seen: usize): void {
  const bytes = (seen + 7 >> 3) << 8, step = CHUNK << 5;
  let to = work.rowWeights + (row << 5), dTo = work.rowDWeights + (row << 5);
  for (let at: usize = 0; at < bytes; at += 256, to += step, dTo += step) {
    turnEight(work.weights + at, to);
    turnEight(work.dWeights + at, dTo);
  }
}

// Adds gradients by sums of `count` rows to those of rows before them, which are multiplied by `factors`, [features]; 0
// where they stay as they are.
function addRows(job: PerformerJob, work: GradientWork, count: usize, sums: usize, factors: usize): void {
  const product = work.columnsOf, z = zOf(sums, work);
  product.at = work.rowResults;
  product.row = 16;
  product.columns = CHUNK << 4;
  product.count = count;
  let features = work.rowFeatures, to = valuesOf(sums, work);
  for (let byte: usize = 0; byte < work.features << 2; byte += 32, features += CHUNK << 5, to += work.columns << 5) {
    const by = factors == 0 ? ONES : factors + byte;
    accumulateColumns(job.splats, product, features, to, to + (work.columns << 5), by);
    for (let lanes: usize = 0; lanes < 32; lanes += 16) {
      let sum = f32x4.splat(0), at = features + lanes;
      for (let delta = work.rowDeltas, end = delta + (count << 2); delta < end; delta += 4, at += 32) {
        sum = fma(v128.load32_splat(delta), v128.load(at), sum);
      }
      const before = f32x4.mul(v128.load(z + byte + lanes), v128.load(by + lanes));
      v128.store(z + byte + lanes, f32x4.sub(before, sum));
    }
  }
}

// Gradients by eight queries from `row` on.
function differentiateQueries(job: PerformerJob, work: GradientWork, row: usize): void {
  const to = work.dFeatures, end = to + (work.features << 5), seen = min(work.count, row + 8);
  const d0 = v128.load(work.delta), d1 = v128.load(work.delta, 16), step = work.columns << 5;
  for (let at = to, z = work.turnedZ; at < end; at += 32, z += 4) {
    const less = f32x4.neg(v128.load32_splat(z));
    v128.store(at, f32x4.mul(less, d0));
    v128.store(at, f32x4.mul(less, d1), 16);
  }
  work.columnsOf.count = work.columns;
  addByFeatures(job, work, work.plain, step, work.dResults, to);
  if (seen > 0) {
    differentiateWeights(job, work, row, seen);
    work.columnsOf.count = seen;
    addByFeatures(job, work, work.exponents, work.panel, work.dWeights, to);
  }
  throughFeatures(job, work, work.queryFeatures, to);
  throughProjection(job, work, to);
}

// Gradients by rows of all heads of a group. `sums` are gradients by sums over all keys; 0 where rows see no later keys:
// what their keys need of them is kept then.
function passRows(job: PerformerJob, work: GradientWork, from: usize, count: usize, sums: usize): void {
  const q = rowsAt(job, offsetof<PerformerJob>("q")), dOut = rowsAt(passOf(job), offsetof<PerformerPass>("dOut"));
  const dq = rowsAt(passOf(job), offsetof<PerformerPass>("dq"));
  let atQ = q.at + from * q.row, atOut = dOut.at + from * dOut.row, to = dq.at + from * dq.row, kept = from << 2;
  for (let head: usize = 0; head < job.group; head++) {
    for (let row: usize = 0; row < count; row += 8) {
      packEight(q, atQ, row, count, work.query, job.dim);
      queryFeatures(job, work);
      answerEight(job, work, row);
      packResultGradients(job, work, atOut, row, count);
      findDeltas(job, work);
      if (sums != 0) keepRows(work, row);
      else keepForKeys(job, work, kept + (row << 2), count - row);
      differentiateQueries(job, work, row);
      unpackEight(dq, to + row * dq.row, count - row, work.dQuery, job.dim, job.root);
    }
    if (sums != 0) addRows(job, work, count, sums, 0);
    atQ += job.qHead;
    atOut += passOf(job).dOutHead;
    to += passOf(job).dqHead;
    kept += passOf(job).rowsHead;
  }
}

function keepForKeys(job: PerformerJob, work: GradientWork, at: usize, count: usize): void {
  for (let lane: usize = 0; lane < min<usize>(8, count) << 2; lane += 4) {
    store<f32>(passOf(job).inverses + at + lane, load<f32>(work.alpha + lane));
    store<f32>(passOf(job).deltas + at + lane, load<f32>(work.delta + lane));
  }
}

// The first pass: gradients by queries, and by sums over keys or what is needed for these.
export function differentiateRows(job: PerformerJob, scratch: usize): void {
  const work = layOutGradients(job, scratch);
  if (job.isCausal) return differentiateInTurn(job, work);
  clearSums(passOf(job).dLocal, originOf(job), work);
  // All rows see the same exponents.
  if (!job.isRelu) zero(passOf(job).dLocal, work.features << 2);
  seeSums(job, work, job.before);
  work.plain = valuesOf(job.before, work);
  for (let from: usize = 0; from < job.rows; from += CHUNK) {
    passRows(job, work, from, min(CHUNK, job.rows - from), passOf(job).dLocal);
  }
}

// Chunk by chunk, as attendRows().
function differentiateInTurn(job: PerformerJob, work: GradientWork): void {
  const first = job.position, end = first + job.rows, part = job.part, bytes = work.features << 2;
  for (let at = first, count: usize = 0; at < end; at += count) {
    if (at % part == 0) {
      if (at == 0) clearState(job, work, job.before);
      clearSums(job.local, originOf(job), work);
    }
    if (at % CHUNK == 0) {
      const mark = passOf(job).marks + (at - first) / CHUNK * (bytes << 1);
      copy(job.before, mark, bytes);
      copy(job.local, mark + bytes, bytes);
    }
    count = takeChunk(job, work, at - first, upToChunk(at, end), job.local);
    packValuePanels(job, work, at - first);
    for (let f: usize = 0; f < work.features; f += 8) seeChunk(job, work, f);
    passRows(job, work, at - first, count, 0);
    if ((at + count) % part == 0) addSums(job.before, job.before + sumsBytes(work.features, work.columns), job.local, work);
  }
}

function copy(from: usize, to: usize, bytes: usize): void {
  for (let at: usize = 0; at < bytes; at += 16) v128.store(to + at, v128.load(from + at));
}

// Eight exponents of all keys of a chunk become features, against the exponents that rows see: `now`.
function weighKeyFeatures(job: PerformerJob, work: GradientWork, feature: usize): void {
  const at = work.exponents + (feature >> 3) * work.panel;
  if (job.isRelu) {
    rectify(at, work.count, originOf(job) + (feature << 2), 0);
    fillBehind(at, work.count, f32x4.splat(0));
  } else {
    fillBehind(at, work.count, f32x4.splat(-Infinity));
    work.powers.alpha = ONES;
    powers_f32_4x4(at, (work.count + 3) & ~3, work.shift, work.alpha, work.powers);
  }
  v128.store(work.shift, f32x4.splat(1));
  v128.store(work.shift, f32x4.splat(1), 16);
  turnKeys(work, feature);
}

// What gradients by sums give to those by values and features of a chunk's keys.
function beginKeys(job: PerformerJob, work: GradientWork, from: usize): void {
  const v = rowsAt(job, offsetof<PerformerJob>("v")), count = work.count, width = job.valueDim, columns = work.columns;
  const product = work.columnsOf, values = columns << 5, features = work.features << 5;
  let b = work.turnedKeys, dv = work.dValues, db = work.dKeyFeatures;
  zero(work.value + (width << 5), columns - width << 5);
  for (let key: usize = 0; key < count; key += 8, b += features, dv += values, db += features) {
    packEight(v, v.at + from * v.row, key, count, work.value, width);
    zero(dv, values);
    product.at = work.turned;
    product.row = 16;
    product.columns = work.features << 4;
    product.count = work.features;
    accumulateColumns(job.splats, product, b, dv, dv + values, ONES);
    for (let at = db, z = work.turnedZ, end = db + features; at < end; at += 32, z += 4) {
      const x = v128.load32_splat(z);
      v128.store(at, x);
      v128.store(at, x, 16);
    }
    product.count = columns;
    addByFeatures(job, work, work.plain, values, work.value, db);
  }
}

// What the chunk's own rows give to them.
function addToKeys(job: PerformerJob, work: GradientWork): void {
  const product = work.columnsOf, step = CHUNK << 5, values = work.columns << 5, features = work.features << 5;
  let dv = work.dValues, db = work.dKeyFeatures;
  for (let key: usize = 0; key < work.count; key += 8, dv += values, db += features) {
    const ofKeys = (key >> 3) * step + (key << 5);
    product.at = work.rowResults + (key << 4);
    product.row = 16;
    product.columns = CHUNK << 4;
    product.count = work.count - key;
    accumulateColumns(job.splats, product, work.rowWeights + ofKeys, dv, dv + values, ONES);
    addByFeatures(job, work, work.rowFeatures + (key << 5), step, work.rowDWeights + ofKeys, db);
  }
}

// Gradients by keys and values are handed out.
function finishKeys(job: PerformerJob, work: GradientWork, from: usize): void {
  const k = rowsAt(job, offsetof<PerformerJob>("k")), dk = rowsAt(passOf(job), offsetof<PerformerPass>("dk"));
  const dv = rowsAt(passOf(job), offsetof<PerformerPass>("dv")), count = work.count, features = work.features << 5;
  let b = work.turnedKeys, values = work.dValues, db = work.dKeyFeatures;
  for (let key: usize = 0; key < count; key += 8, b += features, db += features, values += work.columns << 5) {
    unpackEight(dv, dv.at + (from + key) * dv.row, count - key, values, job.valueDim, 1);
    const s0 = throughFeatures(job, work, b, db), s1 = v128.load(work.delta, 16);
    throughProjection(job, work, db);
    if (!job.isRelu) {
      packEight(k, k.at + from * k.row, key, count, work.key, job.dim);
      throughSquares(job, work, s0, s1);
    }
    unpackEight(dk, dk.at + (from + key) * dk.row, count - key, work.dQuery, job.dim, job.root);
  }
}

function throughSquares(job: PerformerJob, work: GradientWork, s0: v128, s1: v128): void {
  const by = f32x4.splat(-job.root), b0 = f32x4.mul(by, s0), b1 = f32x4.mul(by, s1);
  let at = work.dQuery;
  for (let x = work.key, end = x + (job.dim << 5); x < end; x += 32, at += 32) {
    v128.store(at, fma(b0, v128.load(x), v128.load(at)));
    v128.store(at, fma(b1, v128.load(x, 16), v128.load(at, 16)), 16);
  }
}

// The second pass: gradients by keys and values.
export function differentiateKeys(job: PerformerJob, scratch: usize): void {
  const work = layOutGradients(job, scratch);
  if (job.isCausal) return differentiateBack(job, work);
  seeSums(job, work, passOf(job).dBefore);
  work.plain = valuesOf(passOf(job).dBefore, work);
  for (let from: usize = 0; from < job.rows; from += CHUNK) {
    packChunk(job, work, from, min(CHUNK, job.rows - from));
    for (let f: usize = 0; f < work.features; f += 8) {
      keyExponents(job, work, f, job.before);
      for (let lanes: usize = 0; lanes < 32; lanes += 16) {
        v128.store(work.shift + lanes, finiteMaximum(v128.load(job.before + (f << 2) + lanes)));
      }
      weighKeyFeatures(job, work, f);
    }
    beginKeys(job, work, from);
    finishKeys(job, work, from);
  }
}

// Chunk by chunk, from the last one back.
function differentiateBack(job: PerformerJob, work: GradientWork): void {
  const first = job.position, bytes = sumsBytes(work.features, work.columns);
  if (job.addsParts) {
    clearState(job, work, passOf(job).dBefore);
    clearSums(passOf(job).dLocal, originOf(job), work);
  }
  for (let end = first + job.rows; end > first;) {
    const begin = end - 1 & ~(CHUNK - 1);
    differentiateChunk(job, work, begin - first, end - first);
    if (begin % job.part == 0) {
      addSums(passOf(job).dBefore, passOf(job).dBefore + bytes, passOf(job).dLocal, work);
      clearSums(passOf(job).dLocal, originOf(job), work);
    }
    end = begin;
  }
}

// Keys of one chunk, which rows may have looked at in several runs: these are found again, and then taken from the last.
function differentiateChunk(job: PerformerJob, work: GradientWork, begin: usize, end: usize): void {
  const bytes = work.features << 2, mark = passOf(job).marks + begin / CHUNK * (bytes << 1), starts = work.starts;
  let runs: usize = 0, before = work.exponentsBefore;
  copy(mark + bytes, before, bytes);
  for (let at = begin; at < end; runs++, before += bytes) {
    store<u32>(starts + (runs << 2), at);
    at += takeChunk(job, work, at, end - at, before);
    copy(work.greatest, before + bytes, bytes);
  }
  store<u32>(starts + (runs << 2), end);
  for (let run = runs; run > 0; run--) {
    const from = <usize>load<u32>(starts + (run - 1 << 2)), count = <usize>load<u32>(starts + (run << 2)) - from;
    if (runs > 1) fitsTogether(job, work, from, count, work.exponentsBefore + (run - 1) * bytes);
    differentiateRun(job, work, from, mark);
  }
}

// What rows of a run see of eight features, and gradients by sums as they are there.
function seeBack(job: PerformerJob, work: GradientWork, feature: usize, mark: usize): void {
  const byte = feature << 2, isRelu = job.isRelu, one = f32x4.splat(1);
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    const now = f32x4.pmax(v128.load(mark + byte + lanes), v128.load(work.greatest + byte + lanes));
    const level = isRelu ? f32x4.splat(0) : levelOf(now), local = passOf(job).dLocal + byte + lanes;
    const by = isRelu ? one : exp4(f32x4.add(v128.load(local), level));
    v128.store(work.levels + byte + lanes, level);
    v128.store(work.shift + lanes, finiteMaximum(now));
    v128.store(work.localFactor + lanes, by);
    v128.store(work.beforeFactor + lanes, isRelu ? one : exp4(f32x4.add(v128.load(passOf(job).dBefore + byte + lanes), level)));
    // What gradients by sums of later rows are multiplied by once this run's are added.
    v128.store(work.greatest + byte + lanes, by);
  }
  joinSums(passOf(job).dBefore, passOf(job).dLocal, feature, work);
  joinPlain(passOf(job).dBefore, passOf(job).dLocal, feature, work, work.plain + byte * work.columns);
  if (!isRelu) {
    for (let lanes = byte; lanes < byte + 32; lanes += 16) {
      v128.store(passOf(job).dLocal + lanes, f32x4.neg(v128.load(work.levels + lanes)));
    }
  }
  weighKeyFeatures(job, work, feature);
}

function differentiateRun(job: PerformerJob, work: GradientWork, from: usize, mark: usize): void {
  const q = rowsAt(job, offsetof<PerformerJob>("q")), dOut = rowsAt(passOf(job), offsetof<PerformerPass>("dOut"));
  const count = work.count;
  packValuePanels(job, work, from);
  for (let f: usize = 0; f < work.features; f += 8) seeBack(job, work, f, mark);
  beginKeys(job, work, from);
  let atQ = q.at + from * q.row, atOut = dOut.at + from * dOut.row, kept = from << 2;
  for (let head: usize = 0; head < job.group; head++) {
    for (let row: usize = 0; row < count; row += 8) {
      packEight(q, atQ, row, count, work.query, job.dim);
      queryFeatures(job, work);
      weighKeys(job, work, row, min(count, row + 8));
      loadKept(job, work, kept + (row << 2), count - row);
      packResultGradients(job, work, atOut, row, count);
      differentiateWeights(job, work, row, min(count, row + 8));
      keepRows(work, row);
      keepWeights(work, row, min(count, row + 8));
    }
    addToKeys(job, work);
    addRows(job, work, count, passOf(job).dLocal, head == 0 ? work.greatest : 0);
    atQ += job.qHead;
    atOut += passOf(job).dOutHead;
    kept += passOf(job).rowsHead;
  }
  finishKeys(job, work, from);
}

function loadKept(job: PerformerJob, work: GradientWork, at: usize, count: usize): void {
  for (let lane: usize = 0; lane < min<usize>(8, count) << 2; lane += 4) {
    store<f32>(work.alpha + lane, load<f32>(passOf(job).inverses + at + lane));
    store<f32>(work.delta + lane, load<f32>(passOf(job).deltas + at + lane));
  }
}
