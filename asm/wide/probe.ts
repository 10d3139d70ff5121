// The product of keys and queries in both shapes, over and over, to see which takes this engine less time. A small module
// of its own: eight keys, eight queries, 64 dimensions, one behind the other at an address that no compiler knows.

import { dot_f32_4x8_splat4 } from "../dot.gen";
import { dot_f32_8x8_splat4 } from "./dot.gen";

const DIM: usize = 64;

export function narrow(k: usize, count: i32): void {
  for (const q = k + DIM * 32, s = q + DIM * 32; count > 0; count--) {
    dot_f32_4x8_splat4(k, q, s, DIM);
    dot_f32_4x8_splat4(k + DIM * 16, q, s + 128, DIM);
  }
}

export function wide(k: usize, count: i32): void {
  for (const q = k + DIM * 32, s = q + DIM * 32; count > 0; count--) dot_f32_8x8_splat4(k, DIM * 16, q, s, DIM);
}
