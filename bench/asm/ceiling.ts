// The micro-kernel alone, on operands that stay in L1: what the whole forward is measured against.

import { dot_f32_4x8, dot_f32_4x8_splat1, dot_f32_4x8_splat4 } from "../../asm/dot.gen";

const KEYS: usize = 16;
const QUERIES: usize = 32;

// `rounds` times the scores of 32 queries and 16 keys of `depth` elements; operands from `base` on.
export function ceiling(base: usize, depth: usize, rounds: i32, splats: i32): void {
  const q = base, k = q + QUERIES * depth * 4, s = k + KEYS * depth * 4;
  for (let round = 0; round < rounds; round++) {
    for (let query: usize = 0; query < QUERIES; query += 8) {
      for (let key: usize = 0; key < KEYS; key += 4) {
        const a = k + key * depth * 4, b = q + query * depth * 4;
        const to = s + (query * KEYS + key * 8) * 4;
        if (splats == 4) dot_f32_4x8_splat4(a, b, to, depth);
        else if (splats == 1) dot_f32_4x8_splat1(a, b, to, depth);
        else dot_f32_4x8(a, b, to, depth);
      }
    }
  }
}

export function base(): usize {
  return (__heap_base + 63) & ~63;
}
