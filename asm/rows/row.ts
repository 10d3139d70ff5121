// Rows of whatever storage and stride on their way into f32, and back.

import { HeadRows, SoftmaxJob } from "../records.gen";
import {
  BF16, bf16, bytesOf, F16, f16, F32, loadFour, loadOne, storeFour, storeOne,
} from "../storage";

// How many lanes count: the first `count` of a vector at LANES - 4 count.
export const LANES: usize = memory.data<i32>([-1, -1, -1, -1, 0, 0, 0, 0], 16) + 16;

// The bit of each of four lanes.
const BITS: usize = memory.data<i32>([1, 2, 4, 8], 16);

// The rows that a record describes from a field on, in the order of `headRowsFields`.

// @ts-ignore: decorator
@inline
export function rowsAt<T>(job: T, field: usize): HeadRows {
  return changetype<HeadRows>(changetype<usize>(job) + field);
}

// Whether kernels can work on rows where they are.
export function isPlain(rows: HeadRows): bool {
  return rows.storage == F32 && rows.element == 4;
}

function readRowOf<T>(from: usize, element: usize, columns: usize, to: usize, factor: f32): void {
  const whole = to + ((columns & ~3) << 2), end = to + (columns << 2), by = f32x4.splat(factor);
  if (element == bytesOf<T>()) {
    for (; to < whole; to += 16, from += bytesOf<T>() << 2) v128.store(to, f32x4.mul(by, loadFour<T>(from)));
  }
  for (; to < end; to += 4, from += element) store<f32>(to, factor * loadOne<T>(from));
}

// Elements from an address on, times `factor`.
function readColumns(rows: HeadRows, from: usize, columns: usize, to: usize, factor: f32): void {
  if (rows.storage == F16) readRowOf<f16>(from, rows.element, columns, to, factor);
  else if (rows.storage == BF16) readRowOf<bf16>(from, rows.element, columns, to, factor);
  else readRowOf<f32>(from, rows.element, columns, to, factor);
}

// Row `index`, times `factor`.
export function readRow(rows: HeadRows, index: usize, columns: usize, to: usize, factor: f32): void {
  readColumns(rows, rows.at + index * rows.row, columns, to, factor);
}

// Its columns from one on.
export function readPart(rows: HeadRows, index: usize, column: usize, columns: usize, to: usize): void {
  readColumns(rows, rows.at + index * rows.row + column * rows.element, columns, to, 1);
}

function writeRowOf<T>(to: usize, element: usize, columns: usize, from: usize): void {
  const whole = from + ((columns & ~3) << 2), end = from + (columns << 2);
  if (element == bytesOf<T>()) {
    for (; from < whole; from += 16, to += bytesOf<T>() << 2) storeFour<T>(to, v128.load(from));
  }
  for (; from < end; from += 4, to += element) storeOne<T>(to, load<f32>(from));
}

// The same back.
function writeColumns(rows: HeadRows, to: usize, columns: usize, from: usize): void {
  if (rows.storage == F16) writeRowOf<f16>(to, rows.element, columns, from);
  else if (rows.storage == BF16) writeRowOf<bf16>(to, rows.element, columns, from);
  else writeRowOf<f32>(to, rows.element, columns, from);
}

export function writeRow(rows: HeadRows, index: usize, columns: usize, from: usize): void {
  writeColumns(rows, rows.at + index * rows.row, columns, from);
}

export function writePart(rows: HeadRows, index: usize, column: usize, columns: usize, from: usize): void {
  writeColumns(rows, rows.at + index * rows.row + column * rows.element, columns, from);
}

// What a mask hides of a row becomes minus infinity. Up to three numbers behind the row change.
export function excludeMasked(job: SoftmaxJob, index: usize, row: usize): void {
  const none = f32x4.splat(-Infinity), bits = v128.load(BITS), zero = i32x4.splat(0);
  let at = job.mask + index * job.maskRow;
  if (job.maskIsBits) {
    for (let column: usize = 0; column < job.columns; column += 4, row += 16) {
      const four = i32x4.splat(<i32>(load<u8>(at + (column >> 3)) >> <u8>(column & 4)));
      const hidden = i32x4.eq(v128.and(four, bits), zero);
      v128.store(row, v128.bitselect(none, v128.load(row), hidden));
    }
    return;
  }
  for (const end = at + job.columns; at < end; at += 4, row += 16) {
    const four = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at)));
    v128.store(row, v128.bitselect(none, v128.load(row), i32x4.eq(four, zero)));
  }
}

// The first one to three lanes.

// @ts-ignore: decorator
@inline
export function storeLanes(to: usize, x: v128, count: usize): void {
  store<f32>(to, f32x4.extract_lane(x, 0));
  if (count > 1) store<f32>(to, f32x4.extract_lane(x, 1), 4);
  if (count > 2) store<f32>(to, f32x4.extract_lane(x, 2), 8);
}

// @ts-ignore: decorator
@inline
export function multiply(y: usize, count: usize, factor: v128): void {
  const whole = y + ((count & ~15) << 2), end = y + (count << 2);
  for (; y < whole; y += 64) {
    v128.store(y, f32x4.mul(v128.load(y), factor));
    v128.store(y, f32x4.mul(v128.load(y, 16), factor), 16);
    v128.store(y, f32x4.mul(v128.load(y, 32), factor), 32);
    v128.store(y, f32x4.mul(v128.load(y, 48), factor), 48);
  }
  for (const by = f32x4.extract_lane(factor, 0); y < end; y += 4) store<f32>(y, load<f32>(y) * by);
}
