// Performer attention in jobs: the projection is packed; sums over keys are made part by part, and added up; queries look
// at them. Where rows see no later keys, chunks of queries look at the sums before them and at the keys of their own
// chunk (arXiv 2009.14794, appendix B.1, in chunks instead of one by one).

import { fma } from "../../fma";
import { packFourRows, unpackFourRows } from "../../layout";
import { accumulateColumns, ONES } from "../../products";
import { PerformerJob } from "../../records.gen";
import { rowsAt } from "../../rows/row";
import {
  fourRowsOf, keyExponents, learn, multiplyKeys, originOf, packChunk, queryFeatures, turnKeys,
} from "./features";
import { addSums, clearSums, factorOf, joinPlain, joinSums, sumsBytes } from "./sums";
import { behindWork, CHUNK, layOut, Work } from "./work";

// Keys that are looked at together, and not beyond the end of a chunk: those that `from` begins with.

// @ts-ignore: decorator
@inline
export function upToChunk(from: usize, end: usize): usize {
  return min(end, (from & ~(CHUNK - 1)) + CHUNK) - from;
}

// Brings keys of a chunk to their places and finds their exponents, after keys of exponents m. Returns whether they may be looked at together.
export function fitsTogether(job: PerformerJob, work: Work, from: usize, count: usize, m: usize): bool {
  let fits = packChunk(job, work, from, count) || count == 1;
  for (let f: usize = 0; fits && f < work.features; f += 8) {
    fits = keyExponents(job, work, f, m) || count == 1;
  }
  return fits;
}

// The same for as many of them as may be.

// @ts-ignore: decorator
@inline
export function takeChunk(job: PerformerJob, work: Work, from: usize, count: usize, m: usize): usize {
  while (!fitsTogether(job, work, from, count, m)) count = (count + 3) >> 2;
  return count;
}

// Sums over keys of a part.
export function learnPart(job: PerformerJob, scratch: usize): void {
  const rows = job.rows, isCausal = job.isCausal != 0, work = layOut(job, scratch, isCausal, behindWork(scratch));
  clearSums(job.local, originOf(job), work);
  for (let from: usize = 0, count: usize = 0; from < rows; from += count) {
    count = upToChunk(from, rows);
    if (isCausal) count = takeChunk(job, work, from, count, job.local);
    else packChunk(job, work, from, count);
    for (let f: usize = 0; f < work.features; f += 8) {
      if (!isCausal) keyExponents(job, work, f, job.local);
      learn(job, work, f, job.local);
    }
  }
}

// Adds sums of parts up, in their order. Where rows see no later keys each part is told what was before it.
export function addParts(job: PerformerJob, scratch: usize): void {
  const work = layOut(job, scratch, false, behindWork(scratch)), sums = job.before, bytes = sumsBytes(work.features, work.columns);
  if (job.position == 0) clearState(job, work, sums);
  let part = job.local;
  for (let index: usize = 0; index < job.parts; index++, part += job.partStep) {
    if (job.isCausal) for (let at: usize = 0; at < bytes; at += 16) v128.store(part + bytes + at, v128.load(sums + at));
    addSums(sums, sums + bytes, part, work);
  }
}

// A head's sums, what rounding took from them, and those of the part under way.
export function clearState(job: PerformerJob, work: Work, sums: usize): void {
  const bytes = sumsBytes(work.features, work.columns), rests = sums + bytes;
  clearSums(sums, originOf(job), work);
  for (let at: usize = 0; at < bytes - (work.features << 2); at += 16) v128.store(rests + at, f32x4.splat(0));
}

// A level that features can be added to: of what was never seen any finite number.

// @ts-ignore: decorator
@inline
export function levelOf(m: v128): v128 {
  const least = f32x4.splat(-f32.MAX_VALUE);
  return v128.bitselect(least, m, f32x4.gt(f32x4.abs(m), f32x4.splat(3.3e38)));
}

// Sums over all keys, as queries see them.
export function seeSums(job: PerformerJob, work: Work, sums: usize): void {
  for (let f: usize = 0; f < work.features; f += 8) {
    for (let lanes: usize = 0; lanes < 32; lanes += 16) {
      v128.store(work.beforeFactor + lanes, f32x4.splat(1));
      const m = v128.load(sums + (f << 2) + lanes);
      v128.store(work.levels + (f << 2) + lanes, job.isRelu ? f32x4.splat(0) : levelOf(m));
    }
    joinSums(sums, 0, f, work);
  }
  work.count = 0;
}

// Rows look at sums over all keys.
export function answerRows(job: PerformerJob, scratch: usize): void {
  const work = layOut(job, scratch, false, behindWork(scratch));
  seeSums(job, work, job.before);
  answer(job, work, 0, job.rows);
}

// Rows look at the keys up to their own; what they see first are the sums before the part.
export function attendRows(job: PerformerJob, scratch: usize): void {
  const work = layOut(job, scratch, true, behindWork(scratch)), first = job.position, end = first + job.rows, part = job.part;
  for (let at = first, count: usize = 0; at < end; at += count) {
    if (at % part == 0) {
      if (at == 0 && job.addsParts) clearState(job, work, job.before);
      clearSums(job.local, originOf(job), work);
    }
    count = takeChunk(job, work, at - first, upToChunk(at, end), job.local);
    for (let f: usize = 0; f < work.features; f += 8) seeChunk(job, work, f);
    answer(job, work, at - first, count);
    if (job.addsParts && (at + count) % part == 0) {
      addSums(job.before, job.before + sumsBytes(work.features, work.columns), job.local, work);
    }
  }
}

// Eight features of a chunk: what queries see of the sums before it, its own features with keys side by side, and the
// sums with it.
export function seeChunk(job: PerformerJob, work: Work, feature: usize): void {
  const sums = job.before, local = job.local, byte = feature << 2, isRelu = job.isRelu;
  const one = f32x4.splat(1), factors = work.weights;
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    const before = v128.load(sums + byte + lanes), greatest = v128.load(work.greatest + byte + lanes);
    const now = f32x4.pmax(before, greatest);
    v128.store(work.beforeFactor + lanes, isRelu ? one : factorOf(before, now));
    v128.store(work.localFactor + lanes, isRelu ? one : factorOf(v128.load(local + byte + lanes), now));
    v128.store(work.levels + byte + lanes, isRelu ? f32x4.splat(0) : levelOf(now));
    v128.store(factors + lanes, isRelu ? one : factorOf(greatest, now));
  }
  joinSums(sums, local, feature, work);
  if (work.plain != 0) joinPlain(sums, local, feature, work, work.plain + byte * work.columns);
  learn(job, work, feature, local);
  v128.store(work.shift, v128.load(factors));
  v128.store(work.shift, v128.load(factors, 16), 16);
  turnKeys(work, feature);
  if (work.plain != 0) multiplyKeys(work, feature);
}

// Results of rows of all heads of a group, eight at a time.
function answer(job: PerformerJob, work: Work, from: usize, count: usize): void {
  const q = rowsAt(job, offsetof<PerformerJob>("q")), out = rowsAt(job, offsetof<PerformerJob>("out"));
  let atQ = q.at + from * q.row, atOut = out.at + from * out.row;
  for (let head: usize = 0; head < job.group; head++, atQ += job.qHead, atOut += job.outHead) {
    for (let row: usize = 0; row < count; row += 8) {
      packFourRows(q, fourRowsOf(q, atQ, row, count), work.query, job.dim, 1);
      packFourRows(q, fourRowsOf(q, atQ, row + 4, count), work.query + 16, job.dim, 1);
      queryFeatures(job, work);
      answerEight(job, work, row);
      const o = work.results, factors = work.alpha, width = job.valueDim;
      unpackFourRows(out, fourRowsOf(out, atOut, row, count), o, v128.load(factors), width, count - row);
      if (row + 4 >= count) continue;
      unpackFourRows(out, fourRowsOf(out, atOut, row + 4, count), o + 16, v128.load(factors, 16), width, count - row - 4);
    }
  }
}

// Sums of eight queries: their results, and in `alpha` what these are to be multiplied by.
export function answerEight(job: PerformerJob, work: Work, row: usize): void {
  const product = work.columnsOf, results = work.results, end = results + (work.columns << 5), phi = work.queryFeatures;
  for (let at = results; at < end; at += 16) v128.store(at, f32x4.splat(0));
  product.at = work.turned;
  product.row = 16;
  product.columns = work.features << 4;
  product.count = work.features;
  accumulateColumns(job.splats, product, phi, results, end, ONES);
  denominators(work);
  if (work.count == 0) return invert(work);
  const seen = min(work.count, row + 8);
  weighKeys(job, work, row, seen);
  product.at = work.values;
  product.columns = CHUNK << 4;
  product.count = seen;
  accumulateColumns(job.splats, product, work.weights, results, end, ONES);
  invert(work);
}

function denominators(work: Work): void {
  let a = f32x4.splat(0), b = a, c = a, d = a, at = work.queryFeatures;
  for (let z = work.turnedZ, end = z + (work.features << 2); z < end; z += 8, at += 64) {
    const x = v128.load32_splat(z), y = v128.load32_splat(z, 4);
    a = fma(x, v128.load(at), a);
    b = fma(x, v128.load(at, 16), b);
    c = fma(y, v128.load(at, 32), c);
    d = fma(y, v128.load(at, 48), d);
  }
  v128.store(work.alpha, f32x4.add(a, c));
  v128.store(work.alpha, f32x4.add(b, d), 16);
}

// Rows that see nothing are 0.
function invert(work: Work): void {
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    const sum = v128.load(work.alpha + lanes);
    const inverse = f32x4.div(f32x4.splat(1), sum);
    v128.store(work.alpha + lanes, v128.andnot(inverse, f32x4.eq(sum, f32x4.splat(0))));
  }
}

// Products of features of the chunk's keys with those of eight queries from `row` on, of keys up to their own, which are
// added to denominators.
export function weighKeys(job: PerformerJob, work: Work, row: usize, seen: usize): void {
  const product = work.columnsOf, weights = work.weights, end = weights + (seen << 5);
  for (let at = weights, last = weights + ((seen + 7 & ~7) << 5); at < last; at += 16) v128.store(at, f32x4.splat(0));
  product.at = work.turnedKeys;
  product.row = 32;
  product.columns = 16;
  product.count = work.features;
  for (let at = weights; at < end; at += 256, product.at += work.features << 5) {
    accumulateColumns(job.splats, product, work.queryFeatures, at, at + 256, ONES);
  }
  product.row = 16;
  for (let key = row + 1; key < seen; key++) zeroBefore(weights + (key << 5), key - row);
  let a = v128.load(work.alpha), b = v128.load(work.alpha, 16);
  for (let at = weights; at < end; at += 32) {
    a = f32x4.add(a, v128.load(at));
    b = f32x4.add(b, v128.load(at, 16));
  }
  v128.store(work.alpha, a);
  v128.store(work.alpha, b, 16);
}

// The first `count` of eight numbers become 0.

// @ts-ignore: decorator
@inline
export function zeroBefore(at: usize, count: usize): void {
  for (const end = at + (count << 2); at < end; at += 4) store<f32>(at, 0);
}
