// What score and mask functions compute with, four rows abreast: where WGSL's own says something else, or leaves open what
// it says. Their operations are those of src/scores/kinds.ts.

#import shared/exp.wgsl
#import shared/tanh.wgsl

/// Where four rows of a key are, as functions see it.
struct Place {
  b: vec4i,
  h: vec4i,
  q: vec4i,
}

const LEAST: i32 = -2147483647 - 1;
const GREATEST: i32 = 2147483647;

/// Of the segment `index` of the region, rows and heads of the region: the words of a segment say which it is, and where
/// its first row is.
fn place_of(index: u32, positions: vec4u, heads: vec4u) -> Place {
  let at = p.segments_at + 2 * index;
  return Place(
    vec4i(i32(tables[at])),
    vec4i(heads + p.first_head),
    vec4i(positions) + i32(tables[at + 1]),
  );
}

/// A key as functions see it.
fn column_of(key: u32) -> vec4i {
  return vec4i(i32(key) + p.keys_before);
}

fn literal(at: u32) -> vec4f {
  return vec4f(bitcast<f32>(tables[p.constants_at + at]));
}

fn whole_literal(at: u32) -> vec4i {
  return vec4i(i32(tables[p.constants_at + at]));
}

/// Elements of an array: two of the three words of its place say where it begins, and its last index.
fn elements(place: u32, index: vec4i) -> vec4f {
  let at = p.places_at + 3 * place;
  let last = vec4i(i32(tables[at + 1]));
  return table_four(tables[at] + vec4u(clamp(index, vec4i(0), last)));
}

fn whole_elements(place: u32, index: vec4i) -> vec4i {
  return bitcast<vec4i>(elements(place, index));
}

fn is_nan(x: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(x) & vec4u(0x7fffffff)) > vec4u(0x7f800000);
}

/// NaN where one is: WGSL's own may take the other.
fn lesser(a: vec4f, b: vec4f) -> vec4f {
  return select(min(a, b), a + b, is_nan(a) | is_nan(b));
}

fn greater(a: vec4f, b: vec4f) -> vec4f {
  return select(max(a, b), a + b, is_nan(a) | is_nan(b));
}

/// WGSL divides to 2.5 ULP: what divides without a rest must not come out below.
fn floor_quotient(a: vec4f, b: vec4f) -> vec4f {
  let quotient = a / b;
  let nearest = round(quotient);
  return select(floor(quotient), nearest, nearest * b == a);
}

fn floor_rest(a: vec4f, b: vec4f) -> vec4f {
  return fma(-b, floor_quotient(a, b), a);
}

fn whole_quotient(a: vec4i, b: vec4i) -> vec4i {
  // What WGSL says of a divisor of 0, and of the least number over -1, not all devices do.
  let is_turned = b == vec4i(-1);
  let by = select(b, vec4i(1), (b == vec4i(0)) | is_turned);
  let quotient = a / by;
  let is_below = (quotient * by != a) & ((a < vec4i(0)) != (by < vec4i(0)));
  let rounded = select(quotient, quotient - 1, is_below);
  return select(select(rounded, -a, is_turned), vec4i(0), b == vec4i(0));
}

fn whole_rest(a: vec4i, b: vec4i) -> vec4i {
  return select(a - b * whole_quotient(a, b), vec4i(0), b == vec4i(0));
}

fn whole_of(x: vec4f) -> vec4i {
  let within = vec4i(clamp(x, vec4f(-2147483648), vec4f(2147483520)));
  let whole = select(within, vec4i(GREATEST), x >= vec4f(2147483648));
  return select(whole, vec4i(0), is_nan(x));
}

fn power_of_e(x: vec4f) -> vec4f {
  // Of half as much twice, where the whole is no normal number.
  let half = exp_of(0.5 * x);
  return select(exp_of(x), half * half, abs(x) > vec4f(87));
}

/// At most 2 ULP of normal numbers, by the method of rows/log.wgsl.
fn logarithm(x: vec4f) -> vec4f {
  let bits = bitcast<vec4i>(x);
  let steps = (bits - vec4i(0x3f330000)) >> vec4u(23);
  let f = bitcast<vec4f>(bits - (steps << vec4u(23))) - 1;
  let z = f / (2 + f);
  let y = z * z;
  var sum = fma(vec4f(0.2222222222), y, vec4f(0.2857142857));
  sum = fma(sum, y, vec4f(0.4));
  sum = fma(sum, y, vec4f(0.6666666667));
  let mantissa = f - z * fma(-sum, y, f);
  let of_steps = fma(vec4f(steps), vec4f(1.4286068203e-6), mantissa);
  let normal = fma(vec4f(steps), vec4f(0.693145751953125), of_steps);
  // Infinity, and what is none of a number, is as WGSL has it.
  let is_normal = (bits >= vec4i(0x00800000)) & (bits < vec4i(0x7f800000));
  return select(log(x), normal, is_normal);
}

fn sigmoid(x: vec4f) -> vec4f {
  return 1 / (1 + power_of_e(-x));
}
