// What a row's maximum and sum come to: the natural logarithm of the sum of exponentials.

const LN2: f32 = 0.6931471805599453;

/// What rounding took from m + log(l), which is `lse`; nothing is known where scores are powers of two.
fn rest_of(m: f32, l: f32, lse: f32) -> f32 {
  let logarithm = log(l);
  let is_larger = abs(m) > abs(logarithm);
  let larger = select(logarithm, m, is_larger);
  let rest = taken(vec4f(larger), vec4f(select(m, logarithm, is_larger)), vec4f(lse)).x;
  return select(rest, 0.0, l == 0 || p.to_base_two == 1);
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
