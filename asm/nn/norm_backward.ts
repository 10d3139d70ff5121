// Gradients of norms. A row h is f (x - mean), f being one over the root (or f x, where no mean is taken off), so that
//
//   dx = f (g - mean g - h mean(g h)),   g = dOut weight
//
// without the mean of g where none was taken off. By the weight they are dOut h, by the bias dOut, summed over rows.

import { fma } from "../fma";
import { LayerJob } from "../records.gen";
import { readRow, rowsAt, writeRow } from "../rows/row";
import { sumOfLanes } from "../rows/softmax";
import { addRow, factorOf, fill, readColumns, sumLess, wholeBytes } from "./norm";

// h = row f and g = d weight, in the place of both; gradients by the weight and by the bias are added to sums.
function learn(row: usize, d: usize, bytes: usize, f: f32, weight: usize, sums: usize): void {
  const by = f32x4.splat(f), ofBias = sums + bytes;
  for (let at: usize = 0; at < bytes; at += 16) {
    const h = f32x4.mul(v128.load(row + at), by), given = v128.load(d + at);
    v128.store(row + at, h);
    v128.store(sums + at, fma(given, h, v128.load(sums + at)));
    v128.store(ofBias + at, f32x4.add(v128.load(ofBias + at), given));
    v128.store(d + at, f32x4.mul(given, v128.load(weight + at)));
  }
}

// The sum of g h.
function productOf(g: usize, h: usize, bytes: usize): f32 {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (const end = g + bytes; g < end; g += 64, h += 64) {
    a = fma(v128.load(g), v128.load(h), a);
    b = fma(v128.load(g, 16), v128.load(h, 16), b);
    c = fma(v128.load(g, 32), v128.load(h, 32), c);
    d = fma(v128.load(g, 48), v128.load(h, 48), d);
  }
  return f32x4.extract_lane(sumOfLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d))), 0);
}

// g = f (g - mean - h product).
function finish(g: usize, h: usize, bytes: usize, f: f32, mean: f32, product: f32): void {
  const by = f32x4.splat(f), less = f32x4.splat(mean), minus = f32x4.splat(-product);
  for (const end = g + bytes; g < end; g += 16, h += 16) {
    v128.store(g, f32x4.mul(by, fma(v128.load(h), minus, f32x4.sub(v128.load(g), less))));
  }
}

// Rows of one job, whose gradients by weight and bias are the sums.
export function normBackward(job: LayerJob, scratch: usize): void {
  const columns = job.columns, bytes = wholeBytes(columns), row = scratch, d = row + bytes;
  const other = d + bytes, weight = other + bytes, sums = job.sums;
  const x = rowsAt(job, offsetof<LayerJob>("x")), y = rowsAt(job, offsetof<LayerJob>("y"));
  const out = rowsAt(job, offsetof<LayerJob>("out")), more = rowsAt(job, offsetof<LayerJob>("sum"));
  readColumns(rowsAt(job, offsetof<LayerJob>("weight")), columns, weight, 1, job.offset);
  fill(weight, columns, 0);
  for (let at = sums, end = sums + (bytes << 1); at < end; at += 16) v128.store(at, f32x4.splat(0));
  for (let r: usize = 0; r < job.rows; r++) {
    readRow(x, r, columns, row, 1);
    const f = factorOf(job, row);
    fill(row, columns, 0);
    readRow(y, r, columns, d, 1);
    fill(d, columns, 0);
    learn(row, d, bytes, f, weight, sums);
    const mean: f32 = job.isCentred ? sumLess(d, bytes, 0) / <f32>columns : 0;
    finish(d, row, bytes, f, mean, productOf(d, row, bytes) / <f32>columns);
    if (more.at != 0) {
      readRow(more, r, columns, other, 1);
      addRow(d, other, bytes);
    }
    writeRow(out, r, columns, d);
  }
}
