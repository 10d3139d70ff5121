// Layouts: how rows become the panels that the micro-kernels read, and how a panel of results
// becomes rows again. Four rows at a time, turned by 4x4 transposes.

import { BF16, brain, F16, half, loadFour, loadOne, storeFour, storeOne } from "./storage";

export const PANEL: usize = 8; // queries side by side: two vectors

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
export function storeTurned(to: usize, step: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
  v128.store(to, firstHalves(ab, cd));
  v128.store(to + step, secondHalves(ab, cd));
  v128.store(to + 2 * step, firstHalves(AB, CD));
  v128.store(to + 3 * step, secondHalves(AB, CD));
}

// Four rows of `depth` elements of storage T, `element` bytes apart, become target[depth][4] times
// `factor`, `step` bytes from one depth to the next.
function packFour<T>(
  row0: usize, row1: usize, row2: usize, row3: usize,
  element: usize, target: usize, step: usize, depth: usize, factor: f32,
): void {
  let at: usize = 0;
  if (element == sizeof<T>()) {
    const scale = f32x4.splat(factor);
    for (const whole = depth & ~3; at < whole; at += 4) {
      const byte = at * sizeof<T>();
      const a = f32x4.mul(scale, loadFour<T>(row0 + byte));
      const b = f32x4.mul(scale, loadFour<T>(row1 + byte));
      const c = f32x4.mul(scale, loadFour<T>(row2 + byte));
      const d = f32x4.mul(scale, loadFour<T>(row3 + byte));
      storeTurned(target, step, a, b, c, d);
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

// The way back: source[width][4], `step` bytes from one to the next, times the four factors at `by`, becomes
// the first `count` of four rows of storage T.
function unpackFour<T>(
  source: usize, step: usize, by: usize, width: usize,
  row0: usize, row1: usize, row2: usize, row3: usize, element: usize, count: usize,
): void {
  const factors = v128.load(by);
  let at: usize = 0;
  if (element == sizeof<T>()) {
    for (const whole = width & ~3; at < whole; at += 4) {
      const a = f32x4.mul(factors, v128.load(source));
      const b = f32x4.mul(factors, v128.load(source + step));
      const c = f32x4.mul(factors, v128.load(source + 2 * step));
      const d = f32x4.mul(factors, v128.load(source + 3 * step));
      const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
      const byte = at * sizeof<T>();
      storeFour<T>(row0 + byte, firstHalves(ab, cd));
      if (count > 1) storeFour<T>(row1 + byte, secondHalves(ab, cd));
      if (count > 2) storeFour<T>(row2 + byte, firstHalves(AB, CD));
      if (count > 3) storeFour<T>(row3 + byte, secondHalves(AB, CD));
      source += 4 * step;
    }
  }
  for (; at < width; at++) {
    const a = f32x4.mul(factors, v128.load(source));
    const byte = at * element;
    storeOne<T>(row0 + byte, f32x4.extract_lane(a, 0));
    if (count > 1) storeOne<T>(row1 + byte, f32x4.extract_lane(a, 1));
    if (count > 2) storeOne<T>(row2 + byte, f32x4.extract_lane(a, 2));
    if (count > 3) storeOne<T>(row3 + byte, f32x4.extract_lane(a, 3));
    source += step;
  }
}

// Keys become panels [ceil(count / 4)][dim][4]. A last panel that is not full repeats its last key:
// its scores are masked later.
function packKeysOf<T>(
  source: usize, row: usize, element: usize, target: usize, dim: usize, count: usize,
): void {
  for (let key: usize = 0; key < count; key += 4) {
    const last = count - 1;
    packFour<T>(
      source + key * row,
      source + min(key + 1, last) * row,
      source + min(key + 2, last) * row,
      source + min(key + 3, last) * row,
      element, target, 16, dim, 1,
    );
    target += dim << 4;
  }
}

// Values become columns [ceil(dim / 4)][keys][4], `columns` bytes from one group of four to the
// next; what lies beyond `dim` is 0.
function packValuesOf<T>(
  source: usize, row: usize, element: usize, target: usize, columns: usize, dim: usize, count: usize,
): void {
  const whole = element == sizeof<T>() ? dim & ~3 : 0;
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
    source += row;
  }
}

// The same by the number that stands for a storage in job records.

export function packKeys(
  storage: i32,
  source: usize, row: usize, element: usize, target: usize, dim: usize, count: usize,
): void {
  if (storage == F16) packKeysOf<half>(source, row, element, target, dim, count);
  else if (storage == BF16) packKeysOf<brain>(source, row, element, target, dim, count);
  else packKeysOf<f32>(source, row, element, target, dim, count);
}

export function packValues(
  storage: i32,
  source: usize, row: usize, element: usize, target: usize, columns: usize, dim: usize, count: usize,
): void {
  if (storage == F16) packValuesOf<half>(source, row, element, target, columns, dim, count);
  else if (storage == BF16) packValuesOf<brain>(source, row, element, target, columns, dim, count);
  else packValuesOf<f32>(source, row, element, target, columns, dim, count);
}

export function packQueries(
  storage: i32, row0: usize, row1: usize, row2: usize, row3: usize,
  element: usize, target: usize, step: usize, dim: usize, factor: f32,
): void {
  if (storage == F16) packFour<half>(row0, row1, row2, row3, element, target, step, dim, factor);
  else if (storage == BF16) packFour<brain>(row0, row1, row2, row3, element, target, step, dim, factor);
  else packFour<f32>(row0, row1, row2, row3, element, target, step, dim, factor);
}

export function unpackRows(
  storage: i32, source: usize, step: usize, by: usize, width: usize,
  row0: usize, row1: usize, row2: usize, row3: usize, element: usize, count: usize,
): void {
  if (storage == F16) {
    unpackFour<half>(source, step, by, width, row0, row1, row2, row3, element, count);
  } else if (storage == BF16) {
    unpackFour<brain>(source, step, by, width, row0, row1, row2, row3, element, count);
  } else {
    unpackFour<f32>(source, step, by, width, row0, row1, row2, row3, element, count);
  }
}
