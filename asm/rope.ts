// Rotary position embedding (Su et al., arXiv 2104.09864): pairs of elements of a row, rotated in place.

import { HeadRows } from "./records.gen";
import { BF16, bf16, F16, f16, loadOne, storeOne } from "./storage";

function rotateRowsOf<T>(rows: HeadRows, count: usize, table: usize, pairs: usize, step: usize, apart: usize): void {
  const toNext = step * sizeof<T>(), toOther = apart * sizeof<T>();
  for (let row = rows.at; count > 0; count--, row += rows.row) {
    for (let at = row, end = table + (pairs << 3); table < end; table += 8, at += toNext) {
      const x = loadOne<T>(at), y = loadOne<T>(at + toOther);
      const c = f32.load(table), s = f32.load(table, 4);
      storeOne<T>(at, x * c - y * s);
      storeOne<T>(at + toOther, y * c + x * s);
    }
  }
}

// Rotates pairs of elements, `apart` from each other and `step` from one pair to the next, by the cosines and
// sines of table[count][pairs][2].
export function rotateRows(
  rows: HeadRows, count: usize, table: usize, pairs: usize, step: usize, apart: usize,
): void {
  if (rows.storage == F16) rotateRowsOf<f16>(rows, count, table, pairs, step, apart);
  else if (rows.storage == BF16) rotateRowsOf<bf16>(rows, count, table, pairs, step, apart);
  else rotateRowsOf<f32>(rows, count, table, pairs, step, apart);
}
