// Merges what attention to some keys gave into what others gave (arXiv 2205.14135, section 3.1): m is the
// largest log-sum-exp so far, l the sum of weights, acc that of weighted values. One thread for each row
// and vector of four values; the last part's dispatch writes the result.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=part_out BINDING=1
#import shared/load.wgsl TENSOR=part_lse BINDING=2
// Read by all threads of a row and written by one: in two buffers.
@group(0) @binding(3) var<storage, read> ml_before: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> acc: array<vec4f>;
#if LSE
#import shared/store.wgsl TENSOR=out COLUMNS=p.value_dim
#else
@group(0) @binding(4) var<storage, read_write> ml: array<vec2f>;
#end

fn is_finite(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000) != 0x7f800000;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let index = id.x % p.value_vectors;
  let row = id.x / p.value_vectors;
  if (row >= p.end_row) {
    return;
  }
  let at = (id.z * p.heads + id.y) * p.end_row + row;
  let of_part = load_part_lse(at_part_lse(id.z, id.y, row), 0, 1).x;
  let is_empty = bitcast<u32>(of_part) == 0xff800000;
  var before = vec2f(-3.4028234663852886e38, 0);
  var sum = vec4f(0);
  if (p.part > 0) {
    before = ml_before[at];
    sum = acc[at * p.value_vectors + index];
  }
  // What is infinite or NaN spoils the row.
  let m = select(before.x, max(before.x, of_part), is_finite(of_part));
  let kept = exp(max(before.x - m, -1e4));
  let weight = select(p.not_a_number, exp(max(of_part - m, -1e4)), is_finite(of_part));
  var l = before.y;
  if (!is_empty) {
    let part_row = at_part_out(id.z, id.y, row);
    l = select(l * kept, 0.0, l == 0) + weight;
    sum = select(sum * kept, vec4f(0), before.y == 0) + load_part_out(part_row, index, p.value_dim) * weight;
  }
#if LSE
  // A part alone is as it was.
  store_out(at_out(id.z, id.y, row), index, select(select(sum / l, vec4f(0), l == 0), sum, l == 1));
  if (index == 0) {
    let whole = select(select(m + log(l), p.minus_infinity, l == 0), m, l == 1);
    lse[p.lse_at + id.z * p.lse_batch + id.y * p.lse_head + row] = select(p.not_a_number, whole, is_finite(l));
  }
#else
  acc[at * p.value_vectors + index] = sum;
  if (index == 0) {
    ml[at] = vec2f(m, l);
  }
#end
}
