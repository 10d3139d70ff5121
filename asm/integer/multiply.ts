// Products of words: of two 16-bit integers, or of four bytes, and sums of 32 bits. Every form of a product gives the same
// integers on every engine: no sum leaves its bits (see quantize.ts), and of the relaxed instructions the second operand has
// seven bits, where their results do not depend on the processor. Without relaxed SIMD no instruction multiplies bytes:
// there, they are kept as 16 bits from the beginning.

export const ONES: usize = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16);

// c + a b of two and two 16-bit integers.

// @ts-ignore: decorator
@inline
export function addPairs(a: v128, b: v128, c: v128): v128 {
  return i32x4.add(c, i32x4.dot_i16x8_s(a, b));
}

// The same of four and four bytes, those of `b` from 0 to 127. Where processors lack one instruction for it, pairs of
// products and then pairs of their sums take less than what V8 makes of the fused one.

// @ts-ignore: decorator
@inline
export function addFours(a: v128, b: v128, c: v128, ones: v128): v128 {
  return addPairs(i16x8.relaxed_dot_i8x16_i7x16_s(a, b), ones, c);
}

// The same where processors have it: AVX-VNNI on x64, dot products on arm64.

// @ts-ignore: decorator
@inline
export function addFused(a: v128, b: v128, c: v128): v128 {
  return i32x4.relaxed_dot_i8x16_i7x16_add_s(a, b, c);
}
