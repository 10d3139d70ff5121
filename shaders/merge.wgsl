// Merges what attention to some keys gave into what others gave (arXiv 2205.14135, section 3.1): m is the
// largest log-sum-exp so far, l the sum of weights, acc that of weighted values. One thread for each row
// and vector of four values; the last part's dispatch writes the result.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=q BINDING=1
#import shared/load.wgsl TENSOR=k BINDING=2
// Read by all threads of a row and written by one: in two buffers.
@group(0) @binding(3) var<storage, read> ml_before: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> acc: array<vec4f>;
#if LSE
#import shared/store.wgsl COLUMNS=p.value_dim
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
  let at = (id.z * p.query_heads + id.y) * p.end_row + row;
  let lse_at = p.k_at + id.z * p.k_batch + id.y * p.k_head + row * p.k_row;
  let part_lse = load_k(lse_at, 0, 1).x;
  let is_empty = bitcast<u32>(part_lse) == 0xff800000;
  var before = vec2f(-3.4028234663852886e38, 0);
  var sum = vec4f(0);
  if (p.first_part > 0) {
    before = ml_before[at];
    sum = acc[at * p.value_vectors + index];
  }
  // What is infinite or NaN spoils the row.
  let m = select(before.x, max(before.x, part_lse), is_finite(part_lse));
  let kept = exp(max(before.x - m, -1e4));
  let weight = select(p.not_a_number, exp(max(part_lse - m, -1e4)), is_finite(part_lse));
  var l = before.y;
  if (!is_empty) {
    let part_at = p.q_at + id.z * p.q_batch + id.y * p.q_head + row * p.q_row;
    l = select(l * kept, 0.0, l == 0) + weight;
    sum = select(sum * kept, vec4f(0), before.y == 0) + load_q(part_at, index, p.value_dim) * weight;
  }
#if LSE
  let o_at = p.o_at + id.z * p.o_batch + id.y * p.o_head + row * p.o_row;
  // A part alone is as it was.
  store_out(o_at, index, select(select(sum / l, vec4f(0), l == 0), sum, l == 1));
  if (index == 0) {
    let whole = select(select(m + log(l), p.minus_infinity, l == 0), m, l == 1);
    lse[p.l_at + id.z * p.l_batch + id.y * p.l_head + row] = select(p.not_a_number, whole, is_finite(l));
  }
#else
  acc[at * p.value_vectors + index] = sum;
  if (index == 0) {
    ml[at] = vec2f(m, l);
  }
#end
}
