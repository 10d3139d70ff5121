// Writes tokens into the pages of a cache: rows of `q`, of whatever storage, as the pages store them. One
// thread for each vector of four elements; of bytes for each row, whose largest element is their scale.

#import shared/parameters.wgsl
#import shared/narrow.wgsl
#import shared/load.wgsl TENSOR=q BINDING=1
@group(0) @binding(4) var<storage, read_write> pages: array<u32>;
/// Of each run of rows: its first word in the pages, its first element of `q`, elements of `q` from one
/// head to the next, how many rows.
@group(0) @binding(8) var<storage, read> runs: array<vec4u>;

/// Four numbers, rounded to whole ones, as bytes.
fn pack_bytes(four: vec4f) -> u32 {
  let bytes = (vec4u(vec4i(round(four))) & vec4u(255)) << vec4u(0, 8, 16, 24);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let run = runs[id.z];
#if o_int8
  let row = id.x;
#else
  let row = id.x / p.dim_vectors;
  let index = id.x % p.dim_vectors;
#end
  if (row >= run.w) {
    return;
  }
  let source = p.q_at + run.y + id.y * run.z + row * p.q_row;
  let target_at = p.k_at + run.x + id.y * p.k_head + row * p.k_row;
#if o_int8
  // Bits of magnitudes are in the order of these, with infinity and NaN above all numbers.
  var largest = vec4u(0);
  for (var index = 0u; index < p.dim_vectors; index++) {
    largest = max(largest, bitcast<vec4u>(load_q(source, index, p.dim)) & vec4u(0x7fffffff));
  }
  let bits = max(max(largest.x, largest.y), max(largest.z, largest.w));
  let is_finite = bits < 0x7f800000;
  let most = bitcast<f32>(select(0u, bits, is_finite));
  // Below it the factor may be infinite.
  let factor = select(0.0, 127 / most, most >= 0x1p-119f);
  for (var index = 0u; index < p.dim_vectors; index++) {
    pages[target_at + index] = pack_bytes(select(vec4f(0), load_q(source, index, p.dim) * factor, factor > 0));
  }
  pages[target_at + p.dim_vectors] = select(0x7fc00000u, bitcast<u32>(most / 127), is_finite);
#else
  let four = load_q(source, index, p.dim);
#if o_f32
  for (var i = 0u; i < 4; i++) {
    pages[target_at + 4 * index + i] = bitcast<u32>(four[i]);
  }
#else
  pages[target_at + 2 * index] = narrow(four.x) | (narrow(four.y) << 16);
  pages[target_at + 2 * index + 1] = narrow(four.z) | (narrow(four.w) << 16);
#end
#end
}
