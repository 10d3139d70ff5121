// Features of keys and of queries (Choromanski et al., arXiv 2009.14794, lemma 1), eight at a time side by side, or with
// eight rows side by side. Exponents are logarithms to base 4: the projection has the root of the scale in it, and what
// makes a natural logarithm one to base 4.

import { LOG4_E, powers_f32_4x4 } from "../../exp.gen";
import { fma } from "../../fma";
import { packFourRows, packKeys, packValues, storeTransposed } from "../../layout";
import { accumulateColumns, dotPanels, ONES } from "../../products";
import { addresses } from "../../record";
import { HeadRows, PerformerJob } from "../../records.gen";
import { rowsAt } from "../../rows/row";
import { finiteMaximum } from "../../softmax";
import { factorOf, valuesOf, zOf } from "./sums";
import { CHUNK, featuresOf, Work } from "./work";

// What features of the relu kernel are more than the products.
const FLOOR: f32 = 1e-3;

// Exponents of keys of one chunk are at most so much above those of its first: of each feature more than e^55 would be
// lost to the first queries beyond that.
const SPREAD: f32 = 40;

// Addresses of four rows of a head from `row` on; of those past the last, its own.
export function fourRowsOf(rows: HeadRows, at: usize, row: usize, end: usize): v128 {
  const step = rows.row, last = end - 1;
  return addresses(
    at + min(row, last) * step,
    at + min(row + 1, last) * step,
    at + min(row + 2, last) * step,
    at + min(row + 3, last) * step,
  );
}

// Bytes of a projection as it is packed, and where behind its panels sums' first exponents are, and the projection row by
// row for gradients.

// @ts-ignore: decorator
@inline
export function originOf(job: PerformerJob): usize {
  return job.projection + (featuresOf(job) * (job.dim + 1) << 2);
}

// @ts-ignore: decorator
@inline
export function rowsOfProjection(job: PerformerJob): usize {
  return originOf(job) + (featuresOf(job) << 2);
}

// The projection in panels [features / 8][dim + 1][8], the last step of which is 1; and what sums begin with, or what
// features have added: minus infinity or FLOOR, and the greatest number or 0 where there is no feature.
export function packProjection(job: PerformerJob): void {
  const rows = rowsAt(job, offsetof<PerformerJob>("k")), dim = job.dim, count = job.features, isRelu = job.isRelu;
  const factor = isRelu ? job.root : job.root * LOG4_E, origin = originOf(job);
  let panel = job.projection;
  for (let f: usize = 0; f < featuresOf(job); f += 8) {
    packFourRows(rows, fourRowsOf(rows, rows.at, f, count), panel, dim, factor);
    packFourRows(rows, fourRowsOf(rows, rows.at, f + 4, count), panel + 16, dim, factor);
    const end = panel + (dim << 5);
    for (let lane: usize = 0; lane < 32; lane += 4) {
      const isMissing = f + (lane >> 2) >= count;
      if (isMissing) for (let at = panel + lane; at < end; at += 32) store<f32>(at, 0);
      store<f32>(end + lane, 1);
      const unseen: f32 = isRelu ? FLOOR : -Infinity, none: f32 = isRelu ? 0 : f32.MAX_VALUE;
      store<f32>(origin + (f << 2) + lane, isMissing ? none : unseen);
    }
    panel = end + 32;
  }
  const to = rowsOfProjection(job), columns = featuresOf(job) << 4, end = to + ((dim + 3) >> 2) * columns;
  for (let at = to; at < end; at += 16) v128.store(at, f32x4.splat(0));
  packValues(rows, rows.at, to, columns, dim, count);
}

// Brings keys and values of a chunk to their places; the last step of a key is half of its square, less than 0. Returns
// whether all are finite.
export function packChunk(job: PerformerJob, work: Work, from: usize, count: usize): bool {
  const k = rowsAt(job, offsetof<PerformerJob>("k")), v = rowsAt(job, offsetof<PerformerJob>("v"));
  const dim = job.dim, step = work.depth << 4, by = f32x4.splat(-0.5 * job.root * job.root * LOG4_E);
  let to = work.keys, doubt = f32x4.splat(0);
  for (let key: usize = 0; key < count; key += 4, to += step) {
    packKeys(k, k.at + (from + key) * k.row, to, dim, min<usize>(4, count - key));
    const end = to + (dim << 4);
    let square = f32x4.splat(0);
    for (let at = to; at < end; at += 16) square = fma(v128.load(at), v128.load(at), square);
    doubt = f32x4.add(doubt, f32x4.mul(square, f32x4.splat(0)));
    if (!job.isRelu) v128.store(end, f32x4.mul(square, by));
  }
  const values = work.values;
  packValues(v, v.at + from * v.row, values, CHUNK << 4, job.valueDim, count);
  for (let at = values, end = values + work.columns * (CHUNK << 2); at < end; at += CHUNK << 4) {
    for (let x = at, last = at + (count << 4); x < last; x += 16) {
      doubt = f32x4.add(doubt, f32x4.mul(v128.load(x), f32x4.splat(0)));
    }
  }
  work.count = count;
  return !v128.any_true(f32x4.ne(doubt, doubt));
}

// Exponents of eight features of all keys of a chunk, or their products with the projection. The greatest of them and of
// those before, as whole numbers, come to `greatest`. Returns whether none is far above both the first key's and `m`.
export function keyExponents(job: PerformerJob, work: Work, feature: usize, m: usize): bool {
  const to = work.exponents + (feature >> 3) * work.panel, byte = feature << 2, count = work.count;
  const panel = job.projection + byte * (job.dim + 1);
  dotPanels(job.splats, work.keys, panel, to, work.depth, (count + 3) >> 2);
  if (job.isRelu) return true;
  let far = false;
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    const before = v128.load(m + byte + lanes), first = f32x4.pmax(before, v128.load(to + lanes));
    let most = before, other = before;
    for (let at = to + lanes, end = at + (count << 5 & ~63); at < end; at += 64) {
      most = f32x4.pmax(most, v128.load(at));
      other = f32x4.pmax(other, v128.load(at, 32));
    }
    if (count & 1) most = f32x4.pmax(most, v128.load(to + lanes + (count - 1 << 5)));
    most = f32x4.pmax(most, other);
    far = far || v128.any_true(f32x4.gt(f32x4.sub(most, first), f32x4.splat(SPREAD)));
    v128.store(work.greatest + byte + lanes, f32x4.ceil(most));
  }
  return !far;
}

// Rows behind the last of a four of keys: they have no features.

// @ts-ignore: decorator
@inline
export function fillBehind(at: usize, count: usize, x: v128): void {
  for (let key = count; key & 3; key++) {
    v128.store(at + (key << 5), x);
    v128.store(at + (key << 5), x, 16);
  }
}

// Products become features of the relu kernel, and are added to z.
export function rectify(at: usize, count: usize, floor: usize, z: usize): void {
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    const more = v128.load(floor + lanes), zero = f32x4.splat(0);
    let sum = zero;
    for (let x = at + lanes, end = x + (count << 5); x < end; x += 32) {
      const product = v128.load(x), y = f32x4.add(f32x4.max(product, zero), more);
      v128.store(x, y);
      sum = f32x4.add(sum, y);
    }
    if (z != 0) v128.store(z + lanes, f32x4.add(v128.load(z + lanes), sum));
  }
}

// Takes eight features of a chunk into sums.
export function learn(job: PerformerJob, work: Work, feature: usize, sums: usize): void {
  const at = work.exponents + (feature >> 3) * work.panel, byte = feature << 2, count = work.count;
  const z = zOf(sums, work) + byte;
  let alpha = ONES;
  if (job.isRelu) {
    rectify(at, count, originOf(job) + byte, z);
    fillBehind(at, count, f32x4.splat(0));
  } else {
    alpha = work.alpha;
    for (let lanes: usize = 0; lanes < 32; lanes += 16) {
      const before = v128.load(sums + byte + lanes), now = v128.load(work.greatest + byte + lanes);
      v128.store(alpha + lanes, factorOf(before, now));
      v128.store(work.shift + lanes, finiteMaximum(now));
      v128.store(sums + byte + lanes, now);
    }
    fillBehind(at, count, f32x4.splat(-Infinity));
    work.powers.alpha = alpha;
    powers_f32_4x4(at, (count + 3) & ~3, work.shift, z, work.powers);
  }
  const product = work.columnsOf, to = valuesOf(sums, work) + byte * work.columns;
  product.at = work.values;
  product.row = 16;
  product.columns = CHUNK << 4;
  product.count = count;
  accumulateColumns(job.splats, product, at, to, to + (work.columns << 5), alpha);
}

// Eight features of a chunk's keys, each times its factor in `shift`, with keys side by side.
export function turnKeys(work: Work, feature: usize): void {
  const at = work.exponents + (feature >> 3) * work.panel, step = work.features << 5;
  let from = at, to = work.turnedKeys + (feature << 5);
  const by0 = v128.load(work.shift), by1 = v128.load(work.shift, 16);
  for (let key: usize = 0; key < work.count; key += 8, from += 256, to += step) {
    for (let rows: usize = 0; rows < 32; rows += 16) {
      const x = from + (rows << 3);
      storeTransposed(
        to + rows, 32,
        f32x4.mul(by0, v128.load(x)), f32x4.mul(by0, v128.load(x, 32)),
        f32x4.mul(by0, v128.load(x, 64)), f32x4.mul(by0, v128.load(x, 96)),
      );
      storeTransposed(
        to + rows + 128, 32,
        f32x4.mul(by1, v128.load(x, 16)), f32x4.mul(by1, v128.load(x, 48)),
        f32x4.mul(by1, v128.load(x, 80)), f32x4.mul(by1, v128.load(x, 112)),
      );
    }
  }
}

// The same where they are.
export function multiplyKeys(work: Work, feature: usize): void {
  const at = work.exponents + (feature >> 3) * work.panel;
  const by0 = v128.load(work.shift), by1 = v128.load(work.shift, 16);
  for (let x = at, end = at + (work.count << 5); x < end; x += 32) {
    v128.store(x, f32x4.mul(by0, v128.load(x)));
    v128.store(x, f32x4.mul(by1, v128.load(x, 16)), 16);
  }
}

// Features of eight queries, of which each has its own greatest exponent.
export function queryFeatures(job: PerformerJob, work: Work): void {
  const features = work.features, to = work.queryFeatures, product = work.columnsOf, levels = work.levels;
  const step = job.dim + 1 << 5, end = to + (features << 5);
  for (let at = to, level = levels; at < end; at += 32, level += 4) {
    const x = v128.load32_splat(level);
    v128.store(at, x);
    v128.store(at, x, 16);
  }
  product.at = job.projection;
  product.row = 32;
  product.columns = 16;
  product.count = job.dim;
  for (let at = to; at < end; at += 256, product.at += step) {
    accumulateColumns(job.splats, product, work.query, at, at + 256, ONES);
  }
  if (job.isRelu) return rectifyQueries(job, work);
  let m0 = v128.load(to), m1 = v128.load(to, 16);
  for (let at = to + 32; at < end; at += 32) {
    m0 = f32x4.pmax(m0, v128.load(at));
    m1 = f32x4.pmax(m1, v128.load(at, 16));
  }
  v128.store(work.shift, m0);
  v128.store(work.shift, m1, 16);
  work.powers.alpha = ONES;
  powers_f32_4x4(to, features, work.shift, work.alpha, work.powers);
}

// The same with the relu kernel, whose levels are 0.
function rectifyQueries(job: PerformerJob, work: Work): void {
  let at = work.queryFeatures;
  const zero = f32x4.splat(0);
  for (let floor = originOf(job), end = floor + (work.features << 2); floor < end; floor += 4, at += 32) {
    const more = v128.load32_splat(floor);
    v128.store(at, f32x4.add(f32x4.max(v128.load(at), zero), more));
    v128.store(at, f32x4.add(f32x4.max(v128.load(at, 16), zero), more), 16);
  }
}
