// Rows of any storage become f32, side by side.

import { HeadRows } from "../records.gen";
import { BF16, bf16, F16, f16, loadFour, loadOne } from "../storage";

function packRowsOf<T>(rows: HeadRows, source: usize, target: usize, width: usize, count: usize): void {
  const element: usize = rows.element, whole = element == sizeof<T>() ? width & ~3 : 0;
  for (; count > 0; count--, source += rows.row) {
    let column: usize = 0;
    for (; column < whole; column += 4, target += 16) v128.store(target, loadFour<T>(source + column * sizeof<T>()));
    for (; column < width; column++, target += 4) store<f32>(target, loadOne<T>(source + column * element));
  }
}

// `count` rows from the one at `source` on.
export function packRows(rows: HeadRows, source: usize, target: usize, width: usize, count: usize): void {
  if (rows.storage == F16) packRowsOf<f16>(rows, source, target, width, count);
  else if (rows.storage == BF16) packRowsOf<bf16>(rows, source, target, width, count);
  else packRowsOf<f32>(rows, source, target, width, count);
}
