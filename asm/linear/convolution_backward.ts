// Gradients of convolutions by their weights. A tap's is the product of its row's gradient with the row that it is on, and
// goes through the softmax: dw = p (dp - sum p dp). Where all rows of a head have the same taps, these products are summed
// over rows first, in f64.

import { ConvolutionJob } from "../records.gen";
import { BLOCK, chunkOf, CHUNK_BYTES, Convolution, convolutionScratch, openConvolution, openWindow, weighRows } from "./convolution";
import { dots_f32_1x8 } from "./convolve.gen";
import { isPlain, readPart, readRow, rowsAt, writeRow } from "../rows/row";

// Bytes of the products of a row.
function dotsBytes(width: usize): usize {
  return (width + 7 & ~7) << 2;
}

// Bytes that a job needs.
export function tapsScratch(job: ConvolutionJob): usize {
  return convolutionScratch(job) + BLOCK * dotsBytes(job.width);
}

// A chunk of the rows of gradients; `outRow` bytes from one to the next.
function openGradients(own: Convolution, first: usize, count: usize, column: usize): usize {
  const g = rowsAt(own.job, offsetof<ConvolutionJob>("g"));
  if (isPlain(g) && own.columns >= 8) {
    own.outRow = g.row;
    return g.at + first * g.row + (column << 2);
  }
  own.outRow = CHUNK_BYTES;
  for (let r: usize = 0, at = own.results; r < count; r++, at += CHUNK_BYTES) {
    v128.store(at, f32x4.splat(0));
    v128.store(at, f32x4.splat(0), 16);
    readPart(g, first + r, column, own.columns, at);
  }
  return own.results;
}

// Products of rows with all rows that their taps are on, added to dots[count].
function addDots(own: Convolution, from: usize, count: usize, column: usize, dots: usize): void {
  const job = own.job, width = job.width, lead = from - job.lead;
  const x = openWindow(own, lead, lead + count + (width + 7 & ~7) - 1, column);
  const g = openGradients(own, from - job.first, count, column), columns = own.columns + 3 & ~3;
  for (let r: usize = 0; r < count; r++) {
    for (let t: usize = 0; t < width; t += 8, dots += 32) {
      dots_f32_1x8(g + r * own.outRow, x + (r + t) * own.xRow, own.xRow, columns, dots);
    }
  }
}

// Taps beyond the ends have no gradient, whatever those of their row.
function clearBeyond(job: ConvolutionJob, row: usize, dots: usize): void {
  for (let t: usize = 0, on = row - job.lead; t < job.width; t++, on++) {
    if (on >= job.total) store<f32>(dots + (t << 2), 0);
  }
}

// Products d through the softmax: what has no weight has no gradient. Rounded taps do not add up to 1 exactly, which would
// leave a share of a level that all products have: that of many rows may be far above their differences.
function throughSoftmax<T>(taps: usize, d: usize, to: usize, width: usize): void {
  let mean: f64 = 0, total: f64 = 0;
  for (let t: usize = 0; t < width; t++) {
    const p = <f64>load<f32>(taps + (t << 2));
    total += p;
    if (p != 0) mean += p * <f64>load<T>(d + t * sizeof<T>());
  }
  mean /= total;
  for (let t: usize = 0; t < width; t++) {
    const p = load<f32>(taps + (t << 2));
    store<f32>(to + (t << 2), p == 0 ? 0 : <f32>(<f64>p * (<f64>load<T>(d + t * sizeof<T>()) - mean)));
  }
}

function addTo(sums: usize, dots: usize, width: usize): void {
  for (const end = dots + (width << 2); dots < end; dots += 4, sums += 8) {
    store<f64>(sums, load<f64>(sums) + <f64>load<f32>(dots));
  }
}

// Gradients of a job's rows, or their sum.
export function tapsGradients(job: ConvolutionJob, scratch: usize): void {
  const own = openConvolution(job, scratch), all = scratch + convolutionScratch(job), row = dotsBytes(job.width);
  if (job.isShared) for (let t: usize = 0; t < job.width; t++) store<f64>(job.sums + (t << 3), 0);
  for (let from = job.first, end = from + job.rows; from < end; from += BLOCK) {
    const count = min(BLOCK, end - from);
    for (let at = all; at < all + count * row; at += 16) v128.store(at, f32x4.splat(0));
    for (let column: usize = 0; column < job.columns; column += own.columns) {
      own.columns = chunkOf(job.columns - column);
      addDots(own, from, count, column, all);
    }
    if (!job.isShared) weighRows(own, from, from + count);
    finishRows(own, from, count, all);
  }
}

function finishRows(own: Convolution, from: usize, count: usize, dots: usize): void {
  const job = own.job, width = job.width, y = rowsAt(job, offsetof<ConvolutionJob>("y"));
  let taps = own.taps;
  for (let r: usize = 0; r < count; r++, dots += dotsBytes(width), taps += own.tapsRow) {
    clearBeyond(job, from + r, dots);
    if (job.isShared) {
      addTo(job.sums, dots, width);
    } else {
      throughSoftmax<f32>(taps, dots, dots, width);
      writeRow(y, from - job.first + r, width, dots);
    }
  }
}

// Bytes of a job that sums.
export function sumsScratch(job: ConvolutionJob): usize {
  return convolutionScratch(job) + dotsBytes(job.width);
}

// Sums of `rows` jobs, from `partial` on, are added to a head's; where that has a place for its gradients, these are made.
export function addSums(job: ConvolutionJob, scratch: usize): void {
  const width = job.width;
  let partial = job.partial;
  for (let r: usize = 0; r < job.rows; r++) {
    for (let t: usize = 0; t < width << 3; t += 8, partial += 8) {
      store<f64>(job.sums + t, load<f64>(job.sums + t) + load<f64>(partial));
    }
  }
  if (job.y == 0) return;
  const own = openConvolution(job, scratch), dots = scratch + convolutionScratch(job);
  throughSoftmax<f64>(own.taps, job.sums, dots, width);
  writeRow(rowsAt(job, offsetof<ConvolutionJob>("y")), 0, width, dots);
}
