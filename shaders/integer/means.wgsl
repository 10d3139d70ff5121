// The means of the keys of each head and segment: of those in tiles that are integers. One thread for each
// vector.

#import integer/tables.wgsl

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.dim_vectors) {
    return;
  }
  if (id.x == 0) {
    tables[exact_at(id.z, id.y)] = 0;
  }
  let segment = segment_at(id.z);
  let keys = keys_in(segment);
  var sum = vec4f(0);
  var count = 0u;
  for (var first = 0u; first < keys; first += TILE) {
    let tile = tile_at(segment, id.z, id.y, first / TILE);
    if (tables[tile] != 0) {
      sum += bitcast<vec4f>(words_at(key_sums_at(tile) + 4 * id.x));
      count += min(TILE, keys - first);
    }
  }
  let mean = sum * (1 / f32(max(count, 1)));
  write_four(means_at(id.z, id.y) + 4 * id.x, bitcast<vec4u>(mean));
}
