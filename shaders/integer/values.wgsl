// Columns of values less their mean in the tile become bytes, four keys in a word. One workgroup for each
// tile, in which a thread has vectors of four columns.

#import integer/keys_of.wgsl
#import integer/values_of.wgsl

/// What is below is as nothing: 2^-100, since values have no squares.
const LEAST_VALUE: f32 = 7.888609052210118e-31;

/// Four columns of a word: keys `BC / 4` apart from `key` on.
fn columns_of(tile: Tile, values: u32, key: u32, index: u32, mean: vec4f, by: vec4f) -> vec4u {
  var columns = vec4u(0);
  for (var byte = 0u; byte < 4; byte++) {
    let at = key + byte * (BC / 4);
    if (at < tile.count) {
      let four = vec4i(round((value_vector(tile, values, at, index) - mean) * by));
      columns |= (vec4u(four) & vec4u(255)) << vec4u(8 * byte);
    }
  }
  return columns;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tile = tile_of(id.z, id.y, id.x);
  if (tile.count == 0 || tables[tile.at] == 0) {
    return;
  }
  let values = values_of(id.z, id.y);
  for (var index = lid; index < value_vectors(); index += THREADS) {
    var sum = vec4f(0);
    for (var key = 0u; key < tile.count; key++) {
      sum += value_vector(tile, values, key, index);
    }
    let mean = sum * (1 / f32(tile.count));
    var most = vec4f(LEAST_VALUE);
    for (var key = 0u; key < tile.count; key++) {
      most = max(most, abs(value_vector(tile, values, key, index) - mean));
    }
    let by = 127 / most;
    write_four(value_scales_at(tile.at) + 4 * index, bitcast<vec4u>(1 / by));
    write_four(value_scales_at(tile.at) + 4 * (value_vectors() + index), bitcast<vec4u>(mean));
    for (var word = 0u; word < TILE / 4; word++) {
      let key = word / (BC / 4) * BC + word % (BC / 4);
      let at = value_bytes_at(tile.at) + 4 * (word * value_vectors() + index);
      write_four(at, columns_of(tile, values, key, index, mean, by));
    }
  }
}
