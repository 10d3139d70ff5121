// tanh for the softcap: WGSL's own may be off by 1e-5. Method and coefficients are those of
// asm/tanh.gen.ts, where they are explained.

fn tanh_of(x: vec4f) -> vec4f {
  let bounded = clamp(x, vec4f(-9), vec4f(9));
  let steps = round(bounded * 2.8853900817779268);
  let z = fma(steps, vec4f(-0.34657359027997264), bounded);
  let y = z * z;
  let u = z * fma(fma(vec4f(0.130920097), y, vec4f(-0.333308041)), y, vec4f(1));
  // Not exp2(): of a whole number, too, it need not be exact.
  let s = bitcast<vec4f>((vec4i(steps) + 127) << vec4u(23));
  let value = fma(s + 1, u, s - 1) / fma(s - 1, u, s + 1);
  // clamp() may make a number of NaN.
  return select(value, x, (bitcast<vec4u>(x) & vec4u(0x7fffffff)) > vec4u(0x7f800000));
}
