// Keys less their mean become bytes: multiplied until their largest number is 127, then rounded. One
// thread for each key of a tile.

#import integer/keys_of.wgsl
#import integer/bytes.wgsl

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) key: u32) {
  let tile = tile_of(id.z, id.y, id.x);
  if (key >= tile.count || tables[tile.at] == 0) {
    return;
  }
  let means = means_at(id.z, id.y);
  var largest = vec4f(LEAST);
  for (var index = 0u; index < p.dim_vectors; index++) {
    let mean = bitcast<vec4f>(words_at(means + 4 * index));
    largest = max(largest, abs(key_vector(tile, key, index) - mean));
  }
  let most = max(max(largest.x, largest.y), max(largest.z, largest.w));
  // So that sums of products are exact in f32.
  let by = min(127, 1.6e7 / f32(p.dim)) / most;
  var sum = vec4i(0);
  let words = key_bytes_at(tile.at) + key * byte_words();
  for (var index = 0u; index < byte_words(); index++) {
    var four = vec4i(0);
    if (index < p.dim_vectors) {
      let mean = bitcast<vec4f>(words_at(means + 4 * index));
      four = vec4i(round((key_vector(tile, key, index) - mean) * by));
    }
    sum += four;
    tables[words + index] = bytes_of(four);
  }
  let scales = key_scales_at(tile.at) + key;
  tables[scales] = bitcast<u32>(1 / by);
  tables[scales + TILE] = bitcast<u32>(f32(sum.x + sum.y + sum.z + sum.w));
}
