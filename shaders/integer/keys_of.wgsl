// The keys of a tile, and their values, as they lie.

#import integer/tables.wgsl
#import shared/load.wgsl TENSOR=k BINDING=2

struct Tile {
  /// Where its integers are.
  at: u32,
  /// Its first key, counted from the segment's first, and how many there are.
  first: u32,
  count: u32,
  /// What finds a key: see shaders/forward.wgsl.
  keys: u32,
  list: u32,
  means: u32,
}

/// A tile of a segment, which is number `index` of the region; `count` is 0 where the segment has fewer.
fn tile_of(index: u32, head: u32, tile: u32) -> Tile {
  let segment = segment_at(index);
  let keys = keys_in(segment);
  let first = min(tile * TILE, keys);
  let at = tile_at(segment, index, head, tile);
  let list = p.pages_at + index * p.page_list;
  let means = p.mean_at + head * p.dim_vectors * 4;
#if PAGED
  let base = at_k(0, head, 0);
#else
  let base = at_k(segment.batch, head, segment.key - p.keys_begin);
#end
  return Tile(at, p.keys_begin + first, min(TILE, keys - first), base, list, means);
}

/// A vector of a key of a tile.
fn key_vector(tile: Tile, key: u32, index: u32) -> vec4f {
  let row = tile.keys + place_k(tile.list, tile.first + key);
#if k_smooth
  return load_k(row, index, p.dim) + mean_k(tile.list, tile.first + key, tile.means, index);
#else
  return load_k(row, index, p.dim);
#end
}
