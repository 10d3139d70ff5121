// Where the integers of a region are: in `tables`, behind all else. One behind the other:
//
//   tiles      of each key/value head, in the order of its segments; of TILE keys each:
//                flag                 whether it has integers, and three words of nothing
//                sums                 of its keys, f32 [vectors][4]
//                key scales, sums     f32 [TILE]: what a step is, and the sum of the key's bytes
//                keys                 words of four bytes, [TILE][words]
//                value scales, means  f32 [columns]: the same of columns, and their mean in the tile
//                values               words [TILE / BC][BC / 4][columns], of keys that are BC / 4 apart
//   means      of the keys of each head and segment, f32 [vectors][4], and whether some of its queries are for
//              f32, and three words of nothing
//   queries    of each head and row: scale, lowest number in steps, query times mean, whether it is for
//              f32, and words
//
// Words of a row are whole fours of them. The twin of asm/integer/head.ts.

/// Keys whose values share a scale.
const TILE: u32 = 128;
/// Numbers that can be integers are below 2^50, these bits: squares and products of steps are f32 all the same.
const TOO_LARGE: u32 = 0x58800000;

/// Words of the bytes of a key, or of a query.
fn byte_words() -> u32 {
  return (p.dim_vectors + 3) / 4 * 4;
}

fn value_vectors() -> u32 {
  return (p.value_dim + 3) / 4;
}

/// A tile of a segment, which is number `index` of the region.
fn tile_at(segment: Segment, index: u32, head: u32, tile: u32) -> u32 {
  let first = segment.key / TILE + index * p.segment_tiles;
  return p.integers_at + (head * p.head_tiles + first + tile) * p.tile_words;
}

fn key_sums_at(tile: u32) -> u32 {
  return tile + 4;
}

fn key_scales_at(tile: u32) -> u32 {
  return key_sums_at(tile) + 4 * p.dim_vectors;
}

fn key_bytes_at(tile: u32) -> u32 {
  return key_scales_at(tile) + 2 * TILE;
}

fn value_scales_at(tile: u32) -> u32 {
  return key_bytes_at(tile) + TILE * byte_words();
}

fn value_bytes_at(tile: u32) -> u32 {
  return value_scales_at(tile) + 8 * value_vectors();
}

fn means_at(index: u32, head: u32) -> u32 {
  return p.means_at + (head * p.segments + index) * (4 * p.dim_vectors + 4);
}

/// Where it says whether some query of a segment is for f32.
fn exact_at(index: u32, head: u32) -> u32 {
  return means_at(index, head) + 4 * p.dim_vectors;
}

/// A row of a segment, counted as tiles of rows are.
fn query_at(segment: Segment, index: u32, head: u32, row: u32) -> u32 {
  let first = segment.row * p.group + index * p.segment_rows;
  return p.queries_at + (head * p.head_rows + first + row) * (byte_words() + 4);
}

fn words_at(at: u32) -> vec4u {
  return vec4u(tables[at], tables[at + 1], tables[at + 2], tables[at + 3]);
}

/// Which of four numbers are too large to be integers, or none at all.
fn are_too_large(four: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(four) & vec4u(0x7fffffff)) >= vec4u(TOO_LARGE);
}
