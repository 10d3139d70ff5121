// The values of a tile of keys, as they lie.

#import shared/load.wgsl TENSOR=v BINDING=3

/// Where values are, as `keys` of a tile says where its keys are.
fn values_of(index: u32, head: u32) -> u32 {
#if PAGED
  return at_v(0, head, 0);
#else
  let segment = segment_at(index);
  return at_v(segment.batch, head, segment.key - p.keys_begin);
#end
}

/// A vector of the values of a key.
fn value_vector(tile: Tile, values: u32, key: u32, index: u32) -> vec4f {
  let row = values + place_v(tile.list, tile.first + key);
  return load_v(row, index, p.value_dim);
}
