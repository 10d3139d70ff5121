// The natural logarithm: WGSL's own may be off by 2^-21 near 1, where sums of few weights are. At most 2 ULP of
// normal numbers.

fn log_of(x: f32) -> f32 {
  // x = 2^steps (1 + f) with 1 + f from 0.7 to 1.4, whose logarithm is 2 atanh(f / (2 + f)).
  let bits = bitcast<u32>(x);
  let steps = (i32(bits) - 0x3f330000) >> 23;
  let f = bitcast<f32>(i32(bits) - (steps << 23)) - 1;
  let z = f / (2 + f);
  let y = z * z;
  var sum = fma(0.2222222222, y, 0.2857142857);
  sum = fma(sum, y, 0.4);
  sum = fma(sum, y, 0.6666666667);
  // 2 z = f - z f, where f is exact.
  let mantissa = f - z * fma(-sum, y, f);
  return fma(f32(steps), 0.693145751953125, fma(f32(steps), 1.4286068203e-6, mantissa));
}
