// Writes tokens into the pages of a cache: rows of whatever storage, as the pages store them. One
// thread for each vector of four elements; of bytes for each row, whose largest element is their scale.
// With SMOOTH rows are written minus the means that their page begins with, f32 of [head][column]; with
// MEAN these are computed, of all rows of one run.

#import shared/parameters.wgsl
#import shared/narrow.wgsl TENSOR=pages
#import shared/load.wgsl TENSOR=rows BINDING=1
@group(0) @binding(4) var<storage, read_write> pages: array<u32>;
/// Of each run of rows: its first word in the pages, its first element of `rows`, elements from one
/// head to the next, how many rows.
@group(0) @binding(8) var<storage, read> runs: array<vec4u>;

#if SMOOTH
/// Word of the means for a vector of a head, in the page of a word.
fn mean_at(word: u32, head: u32, index: u32) -> u32 {
  return word / p.pages_batch * p.pages_batch + p.mean_at + (head * p.dim_vectors + index) * 4;
}

fn load_mean(at: u32) -> vec4f {
  return bitcast<vec4f>(vec4u(pages[at], pages[at + 1], pages[at + 2], pages[at + 3]));
}

fn load_less(at: u32, head: u32, index: u32, source: u32) -> vec4f {
  return load_rows(source, index, p.dim) - load_mean(mean_at(at, head, index));
}
#else
fn load_less(at: u32, head: u32, index: u32, source: u32) -> vec4f {
  return load_rows(source, index, p.dim);
}
#end

/// Four numbers, rounded to whole ones, as bytes.
fn pack_bytes(four: vec4f) -> u32 {
  let bytes = (vec4u(vec4i(round(four))) & vec4u(255)) << vec4u(0, 8, 16, 24);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let run = runs[id.z];
#if MEAN
  if (id.x >= p.dim_vectors) {
    return;
  }
  let at = mean_at(run.x, id.y, id.x);
  var mean = vec4f(0);
  for (var row = 0u; row < run.w; row++) {
    mean += load_rows(p.rows_at + run.y + id.y * run.z + row * p.rows_row, id.x, p.dim);
  }
  mean *= p.mean_scale;
  if (p.is_more > 0) {
    mean += load_mean(at);
  }
  // Of what is not finite there is no mean.
  let is_finite = (bitcast<vec4u>(mean) & vec4u(0x7f800000)) != vec4u(0x7f800000);
  let words = bitcast<vec4u>(select(vec4f(0), mean, is_finite));
  for (var i = 0u; i < 4; i++) {
    pages[at + i] = words[i];
  }
#else
#if pages_int8
  let row = id.x;
#else
  let row = id.x / p.dim_vectors;
  let index = id.x % p.dim_vectors;
#end
  if (row >= run.w) {
    return;
  }
  let source = p.rows_at + run.y + id.y * run.z + row * p.rows_row;
  let target_at = p.pages_at + run.x + id.y * p.pages_head + row * p.pages_row;
#if pages_int8
  // Bits of magnitudes are in the order of these, with infinity and NaN above all numbers.
  var largest = vec4u(0);
  for (var index = 0u; index < p.dim_vectors; index++) {
    largest = max(largest, bitcast<vec4u>(load_less(run.x, id.y, index, source)) & vec4u(0x7fffffff));
  }
  let bits = max(max(largest.x, largest.y), max(largest.z, largest.w));
  let is_finite = bits < 0x7f800000;
  let most = bitcast<f32>(select(0u, bits, is_finite));
  // Below it the factor may be infinite.
  let factor = select(0.0, 127 / most, most >= 0x1p-119f);
  for (var index = 0u; index < p.dim_vectors; index++) {
    let four = load_less(run.x, id.y, index, source) * factor;
    pages[target_at + index] = pack_bytes(select(vec4f(0), four, factor > 0));
  }
  pages[target_at + p.dim_vectors] = select(0x7fc00000u, bitcast<u32>(most / 127), is_finite);
#else
  let four = load_rows(source, index, p.dim);
#if pages_f32
  for (var i = 0u; i < 4; i++) {
    pages[target_at + 4 * index + i] = bitcast<u32>(four[i]);
  }
#else
  pages[target_at + 2 * index] = narrow_pages(four.x) | (narrow_pages(four.y) << 16);
  pages[target_at + 2 * index + 1] = narrow_pages(four.z) | (narrow_pages(four.w) << 16);
#end
#end
#end
}
