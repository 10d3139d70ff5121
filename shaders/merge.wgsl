// Merges what each row saw of disjoint parts of the keys (FlashDecoding; arXiv 2205.14135, section
// 3.1): weights of the parts from their maxima m and sums l, then one weighted sum. One thread for each
// row and vector of four values.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
@group(0) @binding(1) var<storage, read> partial_acc: array<vec4f>;
@group(0) @binding(2) var<storage, read> partial_ml: array<vec2f>;
#import shared/store.wgsl

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let index = id.x % p.value_vectors;
  let row = p.first_row + id.x / p.value_vectors;
  if (row >= p.end_row) {
    return;
  }
  let query_head = id.y * p.group + row % p.group;
  let position = row / p.group;
  let first = p.part_at + id.z * p.part_batch + query_head * p.part_head + position;
  var m = LOWEST;
  for (var part = 0u; part < p.parts; part++) {
    m = max(m, partial_ml[first + part * p.l_part].x);
  }
  var l = 0.0;
  var acc = vec4f(0);
  for (var part = 0u; part < p.parts; part++) {
    let at = first + part * p.l_part;
    let ml = partial_ml[at];
    let weight = exp2(ml.x - m);
    // A part that saw nothing has m = LOWEST and l = 0.
    l += select(ml.y * weight, 0.0, ml.y == 0);
    acc += select(partial_acc[at * p.partial_vectors + index] * weight, vec4f(0), ml.y == 0);
  }
  let at = p.o_at + id.z * p.o_batch + query_head * p.o_head + position * p.o_row;
  store_out(at, p.value_from + index, select(acc / l, vec4f(0), l == 0));
#if LSE
  if (index == 0 && p.value_from == 0) {
    lse[p.l_at + id.z * p.l_batch + query_head * p.l_head + position] = log_sum_exp(m, l);
  }
#end
}
