// Blocks: tables of a word for each, by batch, query head, block of queries and block of keys. One is
// the block mask, where 0 is a block without a key, 1 a whole one, from 2 on the number of its bits and
// 2; another what shaders/classify.wgsl finds of mask and bias.

#import shared/segment.wgsl
#import shared/place.wgsl TENSOR=block
#import shared/place.wgsl TENSOR=class

const SKIPPED = 0u;
const WHOLE = 1u;
const MIXED = 2u;

/// Blocks of a tile that are looked at before they count as mixed without.
const MOST_BLOCKS = 256u;

/// The blocks that a tile of rows can touch: the same for all threads, as nothing is that comes of what
/// is not.
struct Blocks {
  /// Word of the table where those of the first head begin.
  at: u32,
  heads: u32,
  /// Words from one head to the next, and from one row of blocks to the next.
  head: u32,
  row: u32,
  /// Rows of blocks.
  first: u32,
  last: u32,
  /// Key 0 of the segment, as columns are counted, and how many are in a block.
  first_key: u32,
  width: u32,
}

/// Of four rows: the word where the blocks of each begin, and the byte where it begins in a block.
struct BlockRows {
  at: vec4u,
  bits: vec4u,
}

/// What there is to look at element by element in a tile: in the block mask, and in mask and bias.
struct Kinds {
  blocks: u32,
  dense: u32,
#if SCORED
  functions: u32,
#end
}

fn is_skipped(kinds: Kinds) -> bool {
  return kinds.blocks == SKIPPED || kinds.dense == SKIPPED;
}

/// Whether nothing is hidden.
fn is_whole(kinds: Kinds) -> bool {
#if SCORED
  if (CHANGES == 1 || kinds.functions != WHOLE) {
    return false;
  }
#end
  return kinds.blocks == WHOLE && kinds.dense == WHOLE;
}

/// Of the block mask, for the positions from `low` to `high`.
fn blocks_of(segment: Segment, head: u32, key_shift: u32, low: u32, high: u32) -> Blocks {
  let first = (p.first_query + segment.row + low) / p.block_queries - p.first_block;
  let last = (p.first_query + segment.row + high) / p.block_queries - p.first_block;
  return Blocks(
    at_block(segment.batch, head * p.group, 0),
    select(1u, p.group, p.block_head > 0),
    p.block_head,
    p.block_row,
    first,
    last,
    p.first_key + key_shift,
    p.block_keys,
  );
}

/// Of the squares of mask and bias that have been looked at.
fn classes_of(segment: Segment, head: u32, key_shift: u32, low: u32, high: u32) -> Blocks {
  return Blocks(
    at_class(segment.batch, head * p.group, 0),
    select(1u, p.group, p.class_head > 0),
    p.class_head,
    p.class_row,
    (segment.row + low) / CLASS,
    (segment.row + high) / CLASS,
    key_shift,
    CLASS,
  );
}

/// What the blocks have in common that a tile and the keys from `first` to `last` touch.
fn kind_of(blocks: Blocks, first: u32, last: u32) -> u32 {
  let first_column = (blocks.first_key + first) / blocks.width;
  let last_column = (blocks.first_key + last) / blocks.width;
  let rows = blocks.last - blocks.first + 1;
  if (blocks.heads * rows * (last_column - first_column + 1) > MOST_BLOCKS) {
    return MIXED;
  }
  var skipped = true;
  var whole = true;
  for (var head = 0u; head < blocks.heads; head++) {
    for (var row = blocks.first; row <= blocks.last; row++) {
      for (var column = first_column; column <= last_column; column++) {
        let block = tables[blocks.at + head * blocks.head + row * blocks.row + column];
        skipped = skipped && block == SKIPPED;
        whole = whole && block == WHOLE;
      }
    }
  }
  return select(select(MIXED, WHOLE, whole), SKIPPED, skipped);
}

fn kinds_of(blocks: Blocks, classes: Blocks, first: u32, last: u32) -> Kinds {
  var kinds: Kinds;
  kinds.blocks = WHOLE;
  kinds.dense = WHOLE;
  if (p.block_at > 0) {
    kinds.blocks = kind_of(blocks, first, last);
  }
  if (p.class_at > 0) {
    kinds.dense = kind_of(classes, first, last);
  } else if (p.mask_ones > 0) {
    kinds.dense = MIXED;
  }
  return kinds;
}

fn block_rows(batch: u32, heads: vec4u, rows: vec4u) -> BlockRows {
  let queries = p.first_query + rows;
  let at = (queries / p.block_queries - p.first_block) * p.block_row;
  return BlockRows(
    at_block(batch, 0, 0) + heads * p.block_head + at,
    queries % p.block_queries * p.block_row_bytes,
  );
}

/// Which of four rows keep a key, given as a row of `k`.
fn is_kept(rows: BlockRows, key: u32) -> vec4<bool> {
  let column = key % p.block_keys;
  let at = rows.at + key / p.block_keys;
  let blocks = vec4u(tables[at.x], tables[at.y], tables[at.z], tables[at.w]);
  let bytes = (max(blocks, vec4u(2)) - 2) * p.block_bytes + rows.bits + column / 8;
  let words = p.block_bits_at + bytes / 4;
  let four = vec4u(tables[words.x], tables[words.y], tables[words.z], tables[words.w]);
  let bits = (four >> (bytes % 4 * 8 + column % 8)) & vec4u(1);
  return (blocks == vec4u(WHOLE)) | ((blocks >= vec4u(MIXED)) & (bits == vec4u(1)));
}
