// Layouts: how rows become the panels that the micro-kernels read, and how a panel of results
// becomes rows again. Four rows at a time, by 4x4 transposes.

import { addresses } from "./record";
import { HeadRows, Rows } from "./records.gen";
import { BF16, bf16, F16, f16, loadFour, loadOne, storeFour, storeOne } from "./storage";

// A 4x4 transpose: column i of the rows a, b, c, d. Two rounds of shuffles; the first is shared, so
// that binaryen merges what four calls have in common.

// @ts-ignore: decorator
@inline
export function low(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 4, 1, 5);
}

// @ts-ignore: decorator
@inline
export function high(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 6, 3, 7);
}

// @ts-ignore: decorator
@inline
export function firstHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 1, 4, 5);
}

// @ts-ignore: decorator
@inline
export function secondHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 3, 6, 7);
}

// Writes the columns of the rows a, b, c, d, `step` bytes from one to the next.

// @ts-ignore: decorator
@inline
export function storeTransposed(to: usize, step: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
  v128.store(to, firstHalves(ab, cd));
  v128.store(to + step, secondHalves(ab, cd));
  v128.store(to + 2 * step, firstHalves(AB, CD));
  v128.store(to + 3 * step, secondHalves(AB, CD));
}

// Zeros; `bytes` is a multiple of 16.
export function clear(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 16) v128.store(at, f32x4.splat(0));
}

// Four rows of `depth` elements of storage T, `element` bytes apart, become target[depth][4] times
// `factor`, `step` bytes from one depth to the next.
function packFour<T>(rows: v128, element: usize, target: usize, step: usize, depth: usize, factor: f32): void {
  const row0 = <usize>i32x4.extract_lane(rows, 0), row1 = <usize>i32x4.extract_lane(rows, 1);
  const row2 = <usize>i32x4.extract_lane(rows, 2), row3 = <usize>i32x4.extract_lane(rows, 3);
  let at: usize = 0;
  if (element == sizeof<T>()) {
    const scale = f32x4.splat(factor);
    for (const whole = depth & ~3; at < whole; at += 4) {
      const byte = at * sizeof<T>();
      const a = f32x4.mul(scale, loadFour<T>(row0 + byte));
      const b = f32x4.mul(scale, loadFour<T>(row1 + byte));
      const c = f32x4.mul(scale, loadFour<T>(row2 + byte));
      const d = f32x4.mul(scale, loadFour<T>(row3 + byte));
      storeTransposed(target, step, a, b, c, d);
      target += 4 * step;
    }
  }
  for (; at < depth; at++) {
    const byte = at * element;
    let x = f32x4.splat(loadOne<T>(row0 + byte));
    x = f32x4.replace_lane(x, 1, loadOne<T>(row1 + byte));
    x = f32x4.replace_lane(x, 2, loadOne<T>(row2 + byte));
    x = f32x4.replace_lane(x, 3, loadOne<T>(row3 + byte));
    v128.store(target, f32x4.mul(f32x4.splat(factor), x));
    target += step;
  }
}

// Four rows of f32 side by side, without a factor and to places that are near: the usual keys.
function packFloats(rows: v128, target: usize, depth: usize): void {
  const row0 = <usize>i32x4.extract_lane(rows, 0), row1 = <usize>i32x4.extract_lane(rows, 1);
  const row2 = <usize>i32x4.extract_lane(rows, 2), row3 = <usize>i32x4.extract_lane(rows, 3);
  for (let byte: usize = 0, end = depth << 2; byte < end; byte += 16, target += 64) {
    storeTransposed(
      target, 16, v128.load(row0 + byte), v128.load(row1 + byte), v128.load(row2 + byte), v128.load(row3 + byte),
    );
  }
}

// Writes one element: a function of its own, since what unpackFour() has four of in line is four times as long.
function storeLast<T>(at: usize, x: f32): void {
  storeOne<T>(at, x);
}

// The way back: lanes of four of source[width][8], times a factor for each, become the first `count` of four rows of
// storage T.
function unpackFour<T>(rows: v128, element: usize, source: usize, factors: v128, width: usize, count: usize): void {
  const row0 = <usize>i32x4.extract_lane(rows, 0), row1 = <usize>i32x4.extract_lane(rows, 1);
  const row2 = <usize>i32x4.extract_lane(rows, 2), row3 = <usize>i32x4.extract_lane(rows, 3);
  let at: usize = 0;
  if (element == sizeof<T>()) {
    for (const whole = width & ~3; at < whole; at += 4) {
      const a = f32x4.mul(factors, v128.load(source));
      const b = f32x4.mul(factors, v128.load(source, 32));
      const c = f32x4.mul(factors, v128.load(source, 64));
      const d = f32x4.mul(factors, v128.load(source, 96));
      const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
      const byte = at * sizeof<T>();
      storeFour<T>(row0 + byte, firstHalves(ab, cd));
      if (count > 1) storeFour<T>(row1 + byte, secondHalves(ab, cd));
      if (count > 2) storeFour<T>(row2 + byte, firstHalves(AB, CD));
      if (count > 3) storeFour<T>(row3 + byte, secondHalves(AB, CD));
      source += 128;
    }
  }
  for (; at < width; at++) {
    const a = f32x4.mul(factors, v128.load(source));
    const byte = at * element;
    storeLast<T>(row0 + byte, f32x4.extract_lane(a, 0));
    if (count > 1) storeLast<T>(row1 + byte, f32x4.extract_lane(a, 1));
    if (count > 2) storeLast<T>(row2 + byte, f32x4.extract_lane(a, 2));
    if (count > 3) storeLast<T>(row3 + byte, f32x4.extract_lane(a, 3));
    source += 32;
  }
}

// Keys become panels [ceil(count / 4)][dim][4]. A last panel that is not full repeats its last key:
// its scores are masked later.
function packKeysOf<T>(rows: HeadRows, source: usize, target: usize, dim: usize, count: usize): void {
  const row = rows.row, last = count - 1;
  for (let key: usize = 0; key < count; key += 4) {
    const four = addresses(
      source + key * row,
      source + min(key + 1, last) * row,
      source + min(key + 2, last) * row,
      source + min(key + 3, last) * row,
    );
    if (isFloat<T>() && rows.element == 4 && (dim & 3) == 0) packFloats(four, target, dim);
    else packFour<T>(four, rows.element, target, 16, dim, 1);
    target += dim << 4;
  }
}

// Values become columns [ceil(dim / 4)][keys][4], `columns` bytes from one group of four to the
// next; what lies beyond `dim` is 0.
function packValuesOf<T>(
  rows: HeadRows, source: usize, target: usize, columns: usize, dim: usize, count: usize,
): void {
  const element: usize = rows.element, whole = element == sizeof<T>() ? dim & ~3 : 0;
  for (let key: usize = 0; key < count; key++) {
    let to = target + (key << 4);
    let column: usize = 0;
    for (; column < whole; column += 4) {
      v128.store(to, loadFour<T>(source + column * sizeof<T>()));
      to += columns;
    }
    for (; column < dim; column += 4) {
      v128.store(to, f32x4.splat(0));
      for (let lane: usize = 0; lane < min<usize>(4, dim - column); lane++) {
        store<f32>(to + (lane << 2), loadOne<T>(source + (column + lane) * element));
      }
      to += columns;
    }
    source += rows.row;
  }
}

// The same of rows of any storage, from the one at `source` on.

export function packKeys(rows: HeadRows, source: usize, target: usize, dim: usize, count: usize): void {
  if (rows.storage == F16) packKeysOf<f16>(rows, source, target, dim, count);
  else if (rows.storage == BF16) packKeysOf<bf16>(rows, source, target, dim, count);
  else packKeysOf<f32>(rows, source, target, dim, count);
}

export function packValues(
  rows: HeadRows, source: usize, target: usize, columns: usize, dim: usize, count: usize,
): void {
  if (rows.storage == F16) packValuesOf<f16>(rows, source, target, columns, dim, count);
  else if (rows.storage == BF16) packValuesOf<bf16>(rows, source, target, columns, dim, count);
  else packValuesOf<f32>(rows, source, target, columns, dim, count);
}

// Four rows at `four` addresses become four lanes of panel[width][8], times `factor`.
export function packFourRows(rows: Rows, four: v128, panel: usize, width: usize, factor: f32): void {
  if (rows.storage == F16) packFour<f16>(four, rows.element, panel, 32, width, factor);
  else if (rows.storage == BF16) packFour<bf16>(four, rows.element, panel, 32, width, factor);
  else packFour<f32>(four, rows.element, panel, 32, width, factor);
}

// The way back, of the first `count` of them.
export function unpackFourRows(
  rows: Rows, four: v128, panel: usize, factors: v128, width: usize, count: usize,
): void {
  if (rows.storage == F16) unpackFour<f16>(four, rows.element, panel, factors, width, count);
  else if (rows.storage == BF16) unpackFour<bf16>(four, rows.element, panel, factors, width, count);
  else unpackFour<f32>(four, rows.element, panel, factors, width, count);
}
