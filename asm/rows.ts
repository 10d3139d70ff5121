// Whole rows beside attention: weighted sums and products of them, and rotations.

import { fma } from "./fma";
import { BF16, brain, F16, F32, half, loadOne, loadStored, storeOne } from "./storage";

function addRowsOf<T>(source: usize, rows: usize, width: usize, weights: usize, target: usize): void {
  for (const end = weights + (rows << 2); weights < end; weights += 4) {
    const weight = f32.load(weights), next = source + width * sizeof<T>();
    // What has no weight leaves no trace, whatever it holds.
    if (weight != 0) {
      for (let to = target; source < next; source += sizeof<T>(), to += 4) {
        f32.store(to, f32.load(to) + weight * loadOne<T>(source));
      }
    }
    source = next;
    target += width << 2;
  }
}

// target[rows][width] += weights[rows] * source[rows][width].
export function addRows(
  storage: i32, source: usize, rows: usize, width: usize, weights: usize, target: usize,
): void {
  if (storage == F16) addRowsOf<half>(source, rows, width, weights, target);
  else if (storage == BF16) addRowsOf<brain>(source, rows, width, weights, target);
  else addRowsOf<f32>(source, rows, width, weights, target);
}

// f32 as another storage.
export function storeRow(storage: i32, source: usize, target: usize, count: usize): void {
  for (const end = source + (count << 2); source < end; source += 4) {
    const x = f32.load(source);
    if (storage == F16) storeOne<half>(target, x);
    else if (storage == BF16) storeOne<brain>(target, x);
    else storeOne<f32>(target, x);
    target += storage == F16 || storage == BF16 ? 2 : 4;
  }
}

function rotateRowsOf<T>(
  row: usize, rows: usize, width: usize, table: usize, pairs: usize, step: usize, apart: usize,
): void {
  step *= sizeof<T>();
  apart *= sizeof<T>();
  for (; rows > 0; rows--, row += width * sizeof<T>()) {
    for (let at = row, end = table + (pairs << 3); table < end; table += 8, at += step) {
      const x = loadOne<T>(at), y = loadOne<T>(at + apart);
      const c = f32.load(table), s = f32.load(table, 4);
      storeOne<T>(at, x * c - y * s);
      storeOne<T>(at + apart, y * c + x * s);
    }
  }
}

// Turns pairs of elements, `apart` from each other and `step` from one pair to the next, by the cosines and
// sines of table[rows][pairs][2].
export function rotateRows(
  storage: i32, row: usize, rows: usize, width: usize, table: usize, pairs: usize, step: usize, apart: usize,
): void {
  if (storage == F16) rotateRowsOf<half>(row, rows, width, table, pairs, step, apart);
  else if (storage == BF16) rotateRowsOf<brain>(row, rows, width, table, pairs, step, apart);
  else rotateRowsOf<f32>(row, rows, width, table, pairs, step, apart);
}

// Four numbers of a row, from any storage.

// @ts-ignore: decorator
@inline
function gatherFour(storage: i32, at: usize, element: usize): v128 {
  if (storage == F32 && element == 4) return v128.load(at);
  let x = f32x4.splat(loadStored(storage, at));
  x = f32x4.replace_lane(x, 1, loadStored(storage, at + element));
  x = f32x4.replace_lane(x, 2, loadStored(storage, at + 2 * element));
  return f32x4.replace_lane(x, 3, loadStored(storage, at + 3 * element));
}

// target[count] = the sum of a * b over `width` numbers of each row; in the same order however they are stored.
export function rowProducts(
  aStorage: i32, a: usize, aRow: usize, aElement: usize, bStorage: i32, b: usize, bRow: usize, bElement: usize,
  width: usize, count: usize, target: usize,
): void {
  const whole = width & ~3;
  for (const end = target + (count << 2); target < end; target += 4, a += aRow, b += bRow) {
    let sums = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 4) {
      sums = fma(gatherFour(aStorage, a + at * aElement, aElement), gatherFour(bStorage, b + at * bElement, bElement), sums);
    }
    let sum = (f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1)) +
      (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3));
    for (let at = whole; at < width; at++) {
      sum += loadStored(aStorage, a + at * aElement) * loadStored(bStorage, b + at * bElement);
    }
    f32.store(target, sum);
  }
}
