// e to the power of x, for what is not divided by a sum of the same: WGSL's own exp2 may be off by
// 3 + 2|x| ULP, and devices' are off in one direction. At most 2 ULP from -87 on; below it is 0. The
// polynomial of 2^f is that of tools/exponential.ts.

fn exp_of(x: vec4f) -> vec4f {
  let bounded = clamp(x, vec4f(-87), vec4f(88));
  let steps = round(bounded * 1.4426950408889634);
  // ln(2) in two parts, so that products of the first are exact; the second is a factor at the end, since
  // compilers would add them up again.
  let f = fma(steps, vec4f(-0.693145751953125), bounded) * 1.4426950408889634;
  var power = fma(vec4f(0.00015594677824992687), f, vec4f(0.0013406643411144614));
  power = fma(power, f, vec4f(0.009617692790925503));
  power = fma(power, f, vec4f(0.055503103882074356));
  power = fma(power, f, vec4f(0.24022652208805084));
  power = fma(power, f, vec4f(0.6931472420692444));
  power = fma(power, f, vec4f(1));
  power = fma(power, steps * -1.4286068203e-6, power);
  let value = power * bitcast<vec4f>((vec4i(steps) + 127) << vec4u(23));
  let is_nan = (bitcast<vec4u>(x) & vec4u(0x7fffffff)) > vec4u(0x7f800000);
  // clamp() may make a number of NaN.
  return select(select(value, vec4f(0), x < vec4f(-87)), x, is_nan);
}
