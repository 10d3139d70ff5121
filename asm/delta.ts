// Delta of the gradients, rowsum(dO * O) (Dao et al., arXiv 2205.14135, algorithm 4, line 19): products of rows.

import { fma } from "./fma";
import { HeadRows } from "./records.gen";
import { BF16, bf16, F16, f16, F32, loadFour, loadStored } from "./storage";

// One number of the row at `row`, from any storage.
function loadAt(rows: HeadRows, row: usize, index: usize): f32 {
  return loadStored(rows.storage, row + index * rows.element);
}

// Four numbers from there on.

// @ts-ignore: decorator
@inline
function loadFourAt(rows: HeadRows, row: usize, index: usize): v128 {
  const storage = rows.storage, at = row + index * rows.element;
  if (rows.element == (storage == F32 ? 4 : 2)) {
    if (storage == F16) return loadFour<f16>(at);
    return storage == BF16 ? loadFour<bf16>(at) : loadFour<f32>(at);
  }
  let x = f32x4.splat(loadAt(rows, row, index));
  x = f32x4.replace_lane(x, 1, loadAt(rows, row, index + 1));
  x = f32x4.replace_lane(x, 2, loadAt(rows, row, index + 2));
  return f32x4.replace_lane(x, 3, loadAt(rows, row, index + 3));
}

// target[count] = the sum of a * b over `width` numbers of each row; in the same order however they are stored.
export function rowProducts(a: HeadRows, b: HeadRows, width: usize, count: usize, target: usize): void {
  const whole = width & ~3, end = target + (count << 2);
  for (let aRow = a.at, bRow = b.at; target < end; target += 4, aRow += a.row, bRow += b.row) {
    let sums = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 4) {
      sums = fma(loadFourAt(a, aRow, at), loadFourAt(b, bRow, at), sums);
    }
    let sum = (f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1)) +
      (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3));
    for (let at = whole; at < width; at++) sum += loadAt(a, aRow, at) * loadAt(b, bRow, at);
    f32.store(target, sum);
  }
}
