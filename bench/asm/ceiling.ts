// The micro-kernels alone, on operands that stay in L1: what the whole forward is measured against.
// One function for each: in one together, V8 compiles them into a loop that is a quarter slower.

import { dot_f32_4x8, dot_f32_4x8_splat1, dot_f32_4x8_splat4 } from "../../asm/dot.gen";

const KEYS: usize = 16;
const QUERIES: usize = 32;

// `rounds` times the scores of 32 queries and 16 keys of `depth` elements; operands from `base` on.

export function splat0(base: usize, depth: usize, rounds: i32): void {
  const q = base, k = q + QUERIES * depth * 4, s = k + KEYS * depth * 4;
  for (let round = 0; round < rounds; round++) {
    for (let query: usize = 0; query < QUERIES; query += 8) {
      for (let key: usize = 0; key < KEYS; key += 4) {
        dot_f32_4x8(k + key * depth * 4, q + query * depth * 4, s + (query * KEYS + key * 8) * 4, depth, 1);
      }
    }
  }
}

export function splat1(base: usize, depth: usize, rounds: i32): void {
  const q = base, k = q + QUERIES * depth * 4, s = k + KEYS * depth * 4;
  for (let round = 0; round < rounds; round++) {
    for (let query: usize = 0; query < QUERIES; query += 8) {
      for (let key: usize = 0; key < KEYS; key += 4) {
        dot_f32_4x8_splat1(k + key * depth * 4, q + query * depth * 4, s + (query * KEYS + key * 8) * 4, depth, 1);
      }
    }
  }
}

export function splat4(base: usize, depth: usize, rounds: i32): void {
  const q = base, k = q + QUERIES * depth * 4, s = k + KEYS * depth * 4;
  for (let round = 0; round < rounds; round++) {
    for (let query: usize = 0; query < QUERIES; query += 8) {
      for (let key: usize = 0; key < KEYS; key += 4) {
        dot_f32_4x8_splat4(k + key * depth * 4, q + query * depth * 4, s + (query * KEYS + key * 8) * 4, depth, 1);
      }
    }
  }
}

export function base(): usize {
  return (__heap_base + 63) & ~63;
}
