// Merges what attention to some keys gave into what others gave: the running softmax of arXiv 1805.02867,
// algorithm 3, over parts. Of each row `level` has the log-sum-exp m that weights are relative to and the
// sum l of weights, each with what rounding took from it: m, its rest, l, its rest. Pairs in `acc` are the
// same of weighted values. One thread for each row and vector of four values; the last part's dispatch
// writes the result.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
#import shared/load.wgsl TENSOR=part_out BINDING=1
#import shared/load.wgsl TENSOR=part_lse BINDING=2
#import shared/place.wgsl TENSOR=level
#import shared/place.wgsl TENSOR=acc
// Read by all threads of a row and written by one: in two buffers.
@group(0) @binding(3) var<storage, read> level_before: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> acc: array<vec4f>;
#if REST
@group(0) @binding(7) var<storage, read> part_rest: array<f32>;
#end
#if LSE
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.value_dim
#else
@group(0) @binding(4) var<storage, read_write> level: array<vec4f>;
#end

fn is_number(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000) != 0x7f800000;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let index = id.x % p.value_vectors;
  let row = id.x / p.value_vectors;
  if (row >= p.end_row) {
    return;
  }
  let level_at = at_level(id.z, id.y, row) / 4;
  let at = at_acc(id.z, id.y, row) / 4 + 2 * index;
  var before = vec4f(0);
  var sum = vec4f(0);
  var sum_rest = vec4f(0);
  if (p.part > 0) {
    before = level_before[level_at];
    sum = acc[at];
    sum_rest = acc[at + 1];
  }
  var after = before;
  let lse_at = at_part_lse(id.z, id.y, row);
  var of_part = vec2f(load_part_lse(lse_at, 0, 1).x, 0);
#if REST
  of_part.y = select(0.0, part_rest[lse_at], is_number(part_rest[lse_at]));
#end
  // A part that saw nothing leaves no trace.
  if (bitcast<u32>(of_part.x) != 0xff800000) {
    let is_first = bitcast<u32>(before.z) == 0;
    // It stays until a weight would be above e: sums are not rounded anew with each small step of it.
    let m = select(before.xy, of_part, is_first || of_part.x > before.x + 1);
    let kept = exp(max((before.x - m.x) + (before.y - m.y), -1e4));
    // What is infinite or NaN spoils the row.
    let weight = select(p.not_a_number, exp(max((of_part.x - m.x) + (of_part.y - m.y), -1e4)), is_number(of_part.x));
    let sums = select(before.zw * kept, vec2f(0), is_first);
    let l = sums.x + (sums.y + weight);
    after = vec4f(m, l, taken(vec4f(sums.x), vec4f(sums.y + weight), vec4f(l)).x);
    let seen = select(sum * kept, vec4f(0), is_first);
    let added = select(sum_rest * kept, vec4f(0), is_first) +
      load_part_out(at_part_out(id.z, id.y, row), index, p.value_dim) * weight;
    sum = seen + added;
    sum_rest = taken(seen, added, sum);
  }
#if LSE
  let l = after.z + after.w;
  // A part alone is as it was.
  store_out(at_out(id.z, id.y, row), index, select(select((sum + sum_rest) / l, vec4f(0), l == 0), sum, l == 1));
  if (index == 0) {
    let whole = select(select(after.x + (after.y + log(l)), p.minus_infinity, l == 0), after.x, l == 1);
    lse[p.lse_at + id.z * p.lse_batch + id.y * p.lse_head + row] = select(p.not_a_number, whole, is_number(l));
  }
#else
  acc[at] = sum;
  acc[at + 1] = sum_rest;
  if (index == 0) {
    level[level_at] = after;
  }
#end
}
