// Merging of results, the public operation: weighted sums of whole rows. On the GPU it is fold.wgsl.

import { BF16, bf16, F16, f16, loadOne, storeOne } from "./storage";

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
  if (storage == F16) addRowsOf<f16>(source, rows, width, weights, target);
  else if (storage == BF16) addRowsOf<bf16>(source, rows, width, weights, target);
  else addRowsOf<f32>(source, rows, width, weights, target);
}

// f32 as another storage.
export function storeRow(storage: i32, source: usize, target: usize, count: usize): void {
  for (const end = source + (count << 2); source < end; source += 4) {
    const x = f32.load(source);
    if (storage == F16) storeOne<f16>(target, x);
    else if (storage == BF16) storeOne<bf16>(target, x);
    else storeOne<f32>(target, x);
    target += storage == F16 || storage == BF16 ? 2 : 4;
  }
}
