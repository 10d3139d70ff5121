// Queries become bytes of seven bits, counted from their lowest number. One thread for each row.

#import integer/tables.wgsl
#import shared/load.wgsl TENSOR=q BINDING=1
#import integer/bytes.wgsl

/// A vector of a query; behind its last number is its first.
fn query_vector(at: u32, index: u32) -> vec4f {
  let columns = 4 * index + vec4u(0, 1, 2, 3);
  return select(vec4f(load_q(at, 0, p.dim).x), load_q(at, index, p.dim), columns < vec4u(p.dim));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let segment = segment_at(id.z);
  let row = id.x;
  if (row >= segment.queries * p.group) {
    return;
  }
  let at = at_q(segment.batch, id.y * p.group + row % p.group, segment.row + row / p.group);
  let means = means_at(id.z, id.y);
  var low = query_vector(at, 0);
  var high = low;
  var shift = 0.0;
  var far = vec4<bool>(false);
  for (var index = 0u; index < p.dim_vectors; index++) {
    let four = query_vector(at, index);
    low = min(low, four);
    high = max(high, four);
    far = far | are_too_large(four);
    // Behind the last number means are 0.
    shift += dot(four, bitcast<vec4f>(words_at(means + 4 * index)));
  }
  let lowest = min(min(low.x, low.y), min(low.z, low.w));
  let highest = max(max(high.x, high.y), max(high.z, high.w));
  // Of a level that all numbers have, no more than f32 keeps is a step.
  let by = 127 / max(highest - lowest, max(LEAST, abs(lowest) * 0x1p-20));
  let to = query_at(segment, id.z, id.y, row);
  tables[to] = bitcast<u32>(1 / by);
  tables[to + 1] = bitcast<u32>(lowest * by);
  tables[to + 2] = bitcast<u32>(shift);
  tables[to + 3] = select(0u, 1u, any(far));
  if (any(far)) {
    tables[exact_at(id.z, id.y)] = 1; // Whoever else writes it writes the same.
  }
  for (var index = 0u; index < byte_words(); index++) {
    // Behind the last number keys are 0.
    tables[to + 4 + index] = bytes_of(vec4i(round((query_vector(at, index) - lowest) * by)));
  }
}
