// Multiply-add of four lanes: c + a * b.
//
// The build makes two binaries from this source. The relaxed one rounds once where the engine
// fuses (V8 does), the other rounds twice; which one runs is chosen while loading.

// @ts-ignore: decorator
@inline
export function fma(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD
    ? v128.relaxed_madd<f32>(a, b, c)
    : f32x4.add(c, f32x4.mul(a, b));
}
