// Powers of two: of features, at most 2 ULP off from -126 on and 0 below, by the polynomial of tools/exponential.ts; and
// of the whole numbers by which exponents of sums differ, where they are exact.

/// Stands for minus infinity, which WGSL may take as never happening.
const LOWEST: f32 = -3.4028234663852886e38;

fn powers_of_2(x: vec4f) -> vec4f {
  let bounded = clamp(x, vec4f(-126), vec4f(127));
  let steps = round(bounded);
  let f = bounded - steps;
  var power = fma(vec4f(0.00015594677824992687), f, vec4f(0.0013406643411144614));
  power = fma(power, f, vec4f(0.009617692790925503));
  power = fma(power, f, vec4f(0.055503103882074356));
  power = fma(power, f, vec4f(0.24022652208805084));
  power = fma(power, f, vec4f(0.6931472420692444));
  power = fma(power, f, vec4f(1));
  let value = power * bitcast<vec4f>((vec4i(steps) + 127) << vec4u(23));
  let is_nan = (bitcast<vec4u>(x) & vec4u(0x7fffffff)) > vec4u(0x7f800000);
  // clamp() may make a number of NaN.
  return select(select(value, vec4f(0), x < vec4f(-126)), x, is_nan);
}

/// Of a whole number that is at most 0.
fn power_of_2(steps: f32) -> f32 {
  return bitcast<f32>(u32(127 + i32(max(steps, -127))) << 23);
}
