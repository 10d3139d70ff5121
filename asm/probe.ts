// One relaxed multiply-add, to see whether this engine rounds once or twice.
//
// (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: the last term survives the subtraction only when the product
// was not rounded before the sum.

export function fused(): bool {
  const a = f32x4.splat(1.000244140625);
  const c = f32x4.splat(-1.00048828125);
  return f32x4.extract_lane(v128.relaxed_madd<f32>(a, a, c), 0) != 0;
}
