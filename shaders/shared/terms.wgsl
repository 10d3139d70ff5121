// What makes a score of a product, for four rows and one key: softcap, bias, ALiBi, masks, in the order
// of docs/SEMANTICS.md. Which of them there are, uniforms say.

#import shared/tanh.wgsl
#import shared/blocks.wgsl
#import shared/hidden.wgsl
#import shared/mask.wgsl
#if SCORED
#import scored/functions.wgsl
#end

#if PAGED
/// Before any key that a row could stand on.
const EVERYWHERE = -0x40000000;
#end

/// Of the four rows of a thread.
struct Terms {
  /// Element for key 0 of the segment.
  bias: vec4u,
  mask: vec4u,
  slopes: vec4f,
  /// The key that each stands on, `beyond` added.
  aligned: vec4i,
  beyond: f32,
#if PAGED
  /// Keys that are seen from everywhere, and how many are missing behind them.
  kept: u32,
  gap: i32,
#end
  /// Row of `k` that is key 0.
  first_key: u32,
  blocks: BlockRows,
#if SCORED
  place: Place,
#end
}

struct Scored {
  score: vec4f,
  seen: vec4<bool>,
#if GRADIENTS
  /// Of the softcap, where the product is.
  slope: vec4f,
#end
}

fn terms_of(
  segment: Segment,
  index: u32,
  key_shift: u32,
  positions: vec4u,
  heads: vec4u,
) -> Terms {
  let rows = segment.row + positions;
  return Terms(
    p.bias_at + segment.batch * p.bias_batch + heads * p.bias_head + rows * p.bias_row +
      key_shift * p.bias_column,
    p.mask_at + segment.batch * p.mask_batch + heads * p.mask_head + rows * p.mask_row +
      key_shift * p.mask_column,
    table_four(p.slopes_at + index * p.query_heads + heads),
    vec4i(positions) + segment.diagonal,
    segment.beyond,
#if PAGED
    segment.kept,
    segment.gap,
#end
    p.first_key + key_shift,
    block_rows(segment.batch, heads, rows),
#if SCORED
    place_of(index, positions, heads),
#end
  );
}

/// The scores of a key, and which rows see it.
fn score(
  product: vec4f,
  key: u32,
  end: u32,
  band: vec2i,
  positions: vec4u,
  terms: Terms,
  in_band: bool,
  kinds: Kinds,
) -> Scored {
  var score = product * p.scale;
  var seen = vec4<bool>(true);
#if GRADIENTS
  var slope = vec4f(1);
#end
#if CHANGES
  score = changed(score, terms.place, column_of(key));
  seen = is_added(score);
#end
  if (p.softcap > 0) {
#if CHANGES
    score /= p.softcap;
#end
    let bent = tanh_of(score); // The scale is over the cap already.
    score = p.softcap * bent;
#if GRADIENTS
    slope = 1 - bent * bent;
#end
  }
  if (p.has_bias > 0) {
    let added = read_bias(terms.bias + key * p.bias_column);
    score += added;
    seen &= is_added(added);
  }
#if PAGED
  let is_first = key < terms.kept;
  let place = i32(key) - select(0, terms.gap, is_first);
  let bounds = vec2i(select(band.x, EVERYWHERE, is_first), band.y);
#else
  let place = i32(key);
  let bounds = band;
#end
  if (p.slopes_at > 0) {
    score -= terms.slopes * abs(vec4f(terms.aligned - place) + terms.beyond);
  }
  if (!in_band) {
    seen &= is_seen(key, end, vec4i(positions), bounds);
  }
  if (p.mask_ones > 0 && kinds.dense == MIXED) {
    seen &= read_mask(terms.mask + key * p.mask_column);
  }
  if (kinds.blocks == MIXED) {
    seen &= is_kept(terms.blocks, terms.first_key + key);
  }
#if SCORED
  if (kinds.functions == MIXED) {
    seen &= shown(terms.place, column_of(key));
  }
#end
#if GRADIENTS
  return Scored(select(vec4f(LOWEST), score, seen), seen, slope);
#else
  return Scored(select(vec4f(LOWEST), score, seen), seen);
#end
}
