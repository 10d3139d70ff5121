// The micro-kernels of linear layers alone, on operands that stay in L1: what whole layers are measured against. And the sum
// of some bytes, which is what one row is measured against: its weights come from memory.

import { Product } from "../../asm/nn/product";
import { multiply_f32_4x8, multiply_int16_4x8, multiply_int16_int8_4x8, multiply_int8_4x8 } from "../../asm/nn/products.gen";

// A tile of four rows and eight outputs, `depth` inputs each; operands from `base` on, behind the record.
function product(base: usize, rowBytes: usize): Product {
  const at = changetype<Product>(base);
  at.row = rowBytes;
  at.sums = base + 256;
  at.bias = base + 512;
  at.out = base + 1024;
  at.outRow = 32;
  at.scales = base + 2048;
  at.scaleStep = 0;
  at.rowScales = base + 4096;
  at.a = base + 8192;
  at.b = base + 16384;
  return at;
}

export function f32(base: usize, depth: usize, rounds: i32): void {
  const at = product(base, depth << 2);
  for (let round = 0; round < rounds; round++) {
    at.tiles = 1;
    multiply_f32_4x8(at);
  }
}

export function int16(base: usize, depth: usize, rounds: i32): void {
  const at = product(base, depth << 1);
  for (let round = 0; round < rounds; round++) {
    at.tiles = 1;
    multiply_int16_4x8(at);
  }
}

export function int16_int8(base: usize, depth: usize, rounds: i32): void {
  const at = product(base, depth << 1);
  for (let round = 0; round < rounds; round++) {
    at.tiles = 1;
    multiply_int16_int8_4x8(at);
  }
}

export function int8(base: usize, depth: usize, rounds: i32): void {
  const at = product(base, depth);
  for (let round = 0; round < rounds; round++) {
    at.tiles = 1;
    multiply_int8_4x8(at);
  }
}

export function sum(from: usize, bytes: usize): i32 {
  let a = i32x4.splat(0), b = a, c = a, d = a;
  for (const end = from + bytes; from < end; from += 64) {
    a = i32x4.add(a, v128.load(from));
    b = i32x4.add(b, v128.load(from, 16));
    c = i32x4.add(c, v128.load(from, 32));
    d = i32x4.add(d, v128.load(from, 48));
  }
  const all = i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
  return i32x4.extract_lane(all, 0) + i32x4.extract_lane(all, 1);
}

export function heapBase(): usize {
  return (__heap_base + 63) & ~63;
}
