// Norms of rows. The mean is taken off before squares are summed, and what rounding left of it after that: a row loses
// nothing on whatever level it is. Sums are sixteen side by side.

import { fma } from "../fma";
import { HeadRows, LayerJob } from "../records.gen";
import { readRow, rowsAt, writeRow } from "../rows/row";
import { sumOfLanes } from "../rows/softmax";

// Floats of a row in whole sixteens.

// @ts-ignore: decorator
@inline
export function wholeBytes(columns: usize): usize {
  return ((columns + 15) & ~15) << 2;
}

// Bytes of tile memory that a job needs: a row, another one, and what it is multiplied with and added to.
export function normScratch(job: LayerJob): usize {
  return wholeBytes(job.columns) << 2;
}

// Behind its last number a row goes on with another.

// @ts-ignore: decorator
@inline
export function fill(row: usize, columns: usize, value: f32): void {
  for (let at = row + (columns << 2), end = row + wholeBytes(columns); at < end; at += 4) store<f32>(at, value);
}

// What columns are multiplied with, or added to it; `value` where there is no such row.
export function readColumns(rows: HeadRows, columns: usize, to: usize, value: f32, offset: f32): void {
  if (rows.at != 0) readRow(rows, 0, columns, to, 1);
  for (let column: usize = 0; column < columns; column++) {
    const x = rows.at != 0 ? load<f32>(to + (column << 2)) : value;
    store<f32>(to + (column << 2), x + offset);
  }
}

// The sum of a row's numbers less some number. No vector is a parameter: see weigh() of ../rows/softmax.ts.
export function sumLess(row: usize, bytes: usize, number: f32): f32 {
  const less = f32x4.splat(number);
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (const end = row + bytes; row < end; row += 64) {
    a = f32x4.add(a, f32x4.sub(v128.load(row), less));
    b = f32x4.add(b, f32x4.sub(v128.load(row, 16), less));
    c = f32x4.add(c, f32x4.sub(v128.load(row, 32), less));
    d = f32x4.add(d, f32x4.sub(v128.load(row, 48), less));
  }
  return f32x4.extract_lane(sumOfLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d))), 0);
}

// Takes a number off a row, and sums the squares of what is left.
function takeOff(row: usize, bytes: usize, number: f32): f32 {
  const less = f32x4.splat(number);
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (const end = row + bytes; row < end; row += 64) {
    const x = f32x4.sub(v128.load(row), less), y = f32x4.sub(v128.load(row, 16), less);
    const z = f32x4.sub(v128.load(row, 32), less), w = f32x4.sub(v128.load(row, 48), less);
    a = fma(x, x, a);
    b = fma(y, y, b);
    c = fma(z, z, c);
    d = fma(w, w, d);
    v128.store(row, x);
    v128.store(row, y, 16);
    v128.store(row, z, 32);
    v128.store(row, w, 48);
  }
  return f32x4.extract_lane(sumOfLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d))), 0);
}

// row = row by weight + bias.
function scale(row: usize, bytes: usize, factor: f32, weight: usize, bias: usize): void {
  const by = f32x4.splat(factor);
  for (const end = row + bytes; row < end; row += 16, weight += 16, bias += 16) {
    v128.store(row, fma(f32x4.mul(v128.load(row), by), v128.load(weight), v128.load(bias)));
  }
}

// Adds another row.

// @ts-ignore: decorator
@inline
export function addRow(row: usize, other: usize, bytes: usize): void {
  for (const end = row + bytes; row < end; row += 16, other += 16) {
    v128.store(row, f32x4.add(v128.load(row), v128.load(other)));
  }
}

// Takes the mean off a row that has no end of its own: numbers behind its last are the mean, too.

// @ts-ignore: decorator
@inline
function centre(row: usize, columns: usize, bytes: usize): f32 {
  fill(row, columns, 0);
  const mean = sumLess(row, bytes, 0) / <f32>columns;
  fill(row, columns, mean);
  const rest = sumLess(row, bytes, mean) / <f32>columns;
  // Both are taken off one after the other: their sum would be rounded to the level that the row is on.
  takeOff(row, bytes, mean);
  return takeOff(row, bytes, rest) - <f32>((bytes >> 2) - columns) * rest * rest;
}

// Takes the mean off a row where it is to be, and gives what the row is multiplied by then.
export function factorOf(job: LayerJob, row: usize): f32 {
  const columns = job.columns, bytes = wholeBytes(columns);
  let squares: f32;
  if (job.isCentred) {
    squares = centre(row, columns, bytes);
  } else {
    fill(row, columns, 0);
    squares = takeOff(row, bytes, 0);
  }
  return <f32>1 / sqrt<f32>(squares / <f32>columns + job.eps);
}

// Rows of one job, each in tile memory.
export function norm(job: LayerJob, scratch: usize): void {
  const columns = job.columns, bytes = wholeBytes(columns), row = scratch, other = row + bytes;
  const x = rowsAt(job, offsetof<LayerJob>("x")), y = rowsAt(job, offsetof<LayerJob>("y"));
  const out = rowsAt(job, offsetof<LayerJob>("out")), sum = rowsAt(job, offsetof<LayerJob>("sum"));
  const weight = other + bytes, bias = weight + bytes;
  readColumns(rowsAt(job, offsetof<LayerJob>("weight")), columns, weight, 1, job.offset);
  readColumns(rowsAt(job, offsetof<LayerJob>("bias")), columns, bias, 0, 0);
  for (let r: usize = 0; r < job.rows; r++) {
    readRow(x, r, columns, row, 1);
    if (y.at != 0) {
      readRow(y, r, columns, other, 1);
      addRow(row, other, bytes);
      if (sum.at != 0) writeRow(sum, r, columns, row);
    }
    const by = factorOf(job, row);
    scale(row, bytes, by, weight, bias);
    writeRow(out, r, columns, row);
  }
}
