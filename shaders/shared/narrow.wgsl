// narrow_$TENSOR(value): the 16 bits of an element of $TENSOR, rounded to nearest, ties to even.

#if $TENSOR_f16
/// The bits of an f16. By hand, since how `pack2x16float` rounds is left open.
fn narrow_$TENSOR(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let sign = (bits >> 16) & 0x8000;
  let magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return sign | 0x7e00; // NaN
  }
  if (magnitude >= 0x477ff000) {
    return sign | 0x7c00; // From 65520 on: infinity.
  }
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
  }
  if (magnitude < 0x33000000) {
    return sign; // Below half of the smallest.
  }
  // Subnormal: the significand, shifted to units of 2^-24.
  let shift = 126 - (magnitude >> 23);
  let significand = (magnitude & 0x7fffff) | 0x800000;
  let kept = significand >> shift;
  let rest = significand & ((1u << shift) - 1);
  let half = 1u << (shift - 1);
  return sign | (kept + select(0u, 1u, rest > half || (rest == half && (kept & 1) == 1)));
}
#else
/// The bits of a bf16.
fn narrow_$TENSOR(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return (bits >> 16) | 0x40; // NaN stays one.
  }
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
#end
