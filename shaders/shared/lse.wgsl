// What a row's maximum and sum come to: the natural logarithm of the sum of exponentials.

const LN2: f32 = 0.6931471805599453;
/// Its upper 12 bits, and what is beyond.
const UPPER_LN2: f32 = 0.693115234375;
const LOWER_LN2: f32 = 3.1946185569453094e-5;

/// What rounding took from m * LN2 + log(l), which is `lse`: the product in parts, of which those of 12 bits are
/// exact.
fn rest_of_powers_of_two(m: f32, l: f32, lse: f32) -> f32 {
  let high = bitcast<f32>(bitcast<u32>(m) & 0xfffff000);
  // A 0 that compilers do not know hides `lse`.
  let bits = bitcast<u32>(lse) ^ bitcast<u32>(p.minus_infinity) ^ 0xff800000;
  let near = (high * UPPER_LN2 - bitcast<f32>(bits)) + (m - high) * UPPER_LN2;
  return (near + m * LOWER_LN2) + log(l);
}

/// What rounding took from m + log(l), which is `lse`.
fn rest_of(m: f32, l: f32, lse: f32) -> f32 {
  let logarithm = log(l);
  let is_larger = abs(m) > abs(logarithm);
  let larger = select(logarithm, m, is_larger);
  var rest = taken(vec4f(larger), vec4f(select(m, logarithm, is_larger)), vec4f(lse)).x;
  if (p.to_base_two == 1) {
    rest = rest_of_powers_of_two(m, l, lse);
  }
  return select(rest, 0.0, l == 0 || (bitcast<u32>(rest) & 0x7f800000) == 0x7f800000);
}

/// Natural logarithm of the sum of exponentials of a row; a row that saw nothing has l = 0.
fn log_sum_exp(m: f32, l: f32) -> f32 {
  // A sum of weights of at most e is finite, but where a score was NaN: of that, some devices' exp2
  // makes infinity.
  if ((bitcast<u32>(l) & 0x7fffffff) >= 0x7f800000) {
    return p.not_a_number;
  }
  var sum = m * LN2 + log(l);
#if TERMS
  if (p.to_base_two != 1) {
    sum = m + log(l);
  }
#end
  return select(sum, p.minus_infinity, l == 0);
}
