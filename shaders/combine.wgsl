// Combines what each row saw of disjoint parts of the keys (FlashDecoding; arXiv 2205.14135, section
// 3.1): weights of the parts from their maxima m and sums l, then one weighted sum. One thread for each
// row and vector of four values.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
@group(0) @binding(1) var<storage, read> partial_acc: array<vec4f>;
@group(0) @binding(2) var<storage, read> partial_ml: array<vec2f>;
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.value_dim
#if LSE
#import shared/lse.wgsl
#end
#import shared/place.wgsl TENSOR=part
#if TERMS
#import shared/segment.wgsl
#end

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let index = id.x % p.value_vectors;
  let row = id.x / p.value_vectors;
  let position = row / p.group;
  let query_head = id.y * p.group + row % p.group;
#if TERMS
  let segment = segment_at(id.z);
  let batch = segment.batch;
  let end_row = segment.queries * p.group;
  let parts = segment.parts;
  let l_part = p.query_heads * segment.queries;
  let first = segment.partials + query_head * segment.queries + position;
  let at_row = segment.row + position;
#else
  let batch = id.z;
  let end_row = p.end_row;
  let parts = p.parts;
  let l_part = p.l_part;
  let first = at_part(batch, query_head, position);
  let at_row = position;
#end
  if (row >= end_row) {
    return;
  }
  var m = LOWEST;
  for (var part = 0u; part < parts; part++) {
    m = max(m, partial_ml[first + part * l_part].x);
  }
  // What rounding takes from the sums is added with the next part.
  var l = 0.0;
  var acc = vec4f(0);
  var l_rest = 0.0;
  var acc_rest = vec4f(0);
  for (var part = 0u; part < parts; part++) {
    let at = first + part * l_part;
    let ml = partial_ml[at];
    let weight = exp2(max(ml.x - m, -1e4) * p.to_base_two);
    // A part that saw nothing has m = LOWEST and l = 0.
    l_rest += select(ml.y * weight, 0.0, ml.y == 0);
    acc_rest += select(partial_acc[at * p.partial_vectors + index] * weight, vec4f(0), ml.y == 0);
    let next_l = l + l_rest;
    let next_acc = acc + acc_rest;
    l_rest = taken(vec4f(l), vec4f(l_rest), vec4f(next_l)).x;
    acc_rest = taken(acc, acc_rest, next_acc);
    l = next_l;
    acc = next_acc;
  }
#if TERMS
  // As if it had not been in parts, where it was not: others of the call were.
  let mean = select(acc * (1 / l), acc / l, segment.is_split != 0);
#else
  let mean = acc / l;
#end
  store_out(at_out(batch, query_head, at_row), p.value_from + index, select(mean, vec4f(0), l == 0));
#if LSE
  if (index == 0 && p.value_from == 0) {
    let lse_at = p.l_at + batch * p.l_batch + query_head * p.l_head + at_row;
    let sum = log_sum_exp(m, l);
    lse[lse_at] = sum;
    if (p.rest_at > 0) {
      lse[lse_at + p.rest_at] = rest_of(m, l, sum);
    }
  }
#end
}
