/// The reciprocal, where devices may be off by more than one rounding; 0 of 0.
fn inverse_of(l: f32) -> f32 {
  let inverse = 1 / l;
  return select(fma(inverse, fma(-l, inverse, 1), inverse), 0.0, l == 0);
}
