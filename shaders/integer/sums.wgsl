// The sums of the keys of each tile, and whether it can be integers: none of its keys and values may be too
// large, or no number. One workgroup for each tile.

#import integer/keys_of.wgsl
#import integer/values_of.wgsl

/// How many found something that is too large.
var<workgroup> too_large: atomic<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tile = tile_of(id.z, id.y, id.x);
  var far = vec4<bool>(false);
  for (var index = lid; index < p.dim_vectors; index += THREADS) {
    var sum = vec4f(0);
    for (var key = 0u; key < tile.count; key++) {
      let four = key_vector(tile, key, index);
      sum += four;
      far = far | are_too_large(four);
    }
    if (tile.count > 0) {
      write_four(key_sums_at(tile.at) + 4 * index, bitcast<vec4u>(sum));
    }
  }
  let values = values_of(id.z, id.y);
  for (var index = lid; index < value_vectors(); index += THREADS) {
    for (var key = 0u; key < tile.count; key++) {
      far = far | are_too_large(value_vector(tile, values, key, index));
    }
  }
  if (any(far)) {
    atomicAdd(&too_large, 1);
  }
  workgroupBarrier();
  if (lid == 0 && tile.count > 0) {
    tables[tile.at] = select(0u, 1u, atomicLoad(&too_large) == 0);
  }
}
