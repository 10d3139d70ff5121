// store_out(at, index, value): writes four neighbouring elements of a row that begins at element `at`,
// rounded to nearest, ties to even. Elements from value_dim on are not there.

#if o_f32
#if o_vec
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

fn store_out(at: u32, index: u32, value: vec4f) {
  if (4 * index < p.value_dim) {
    out[at / 4 + index] = value;
  }
}
#else
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn store_out(at: u32, index: u32, value: vec4f) {
  for (var i = 0u; i < min(4, p.value_dim - min(p.value_dim, 4 * index)); i++) {
    out[at + (4 * index + i) * p.o_column] = value[i];
  }
}
#end
#else
#if o_f16
/// The bits of an f16. By hand, since how `pack2x16float` rounds is left open.
fn narrow(value: f32) -> u32 {
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
fn narrow(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return (bits >> 16) | 0x40; // NaN stays one.
  }
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
#end

#if o_vec
@group(0) @binding(4) var<storage, read_write> out: array<vec2u>;

fn store_out(at: u32, index: u32, value: vec4f) {
  if (4 * index < p.value_dim) {
    out[at / 4 + index] = vec2u(
      narrow(value.x) | (narrow(value.y) << 16),
      narrow(value.z) | (narrow(value.w) << 16),
    );
  }
}
#else
// Two elements share a word and may belong to different threads.
@group(0) @binding(4) var<storage, read_write> out: array<atomic<u32>>;

fn store_out(at: u32, index: u32, value: vec4f) {
  for (var i = 0u; i < min(4, p.value_dim - min(p.value_dim, 4 * index)); i++) {
    let element = at + (4 * index + i) * p.o_column;
    let shift = element % 2 * 16;
    atomicAnd(&out[element / 2], ~(0xffffu << shift));
    atomicOr(&out[element / 2], narrow(value[i]) << shift);
  }
}
#end
#end

#if LSE
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
#end
