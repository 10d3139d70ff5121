// load_$TENSOR(at, index, extent): four neighbouring elements of a row that begins at element `at`,
// widened to f32. `index` counts vectors of four; elements from `extent` on are 0: vectors are read all the same, since a
// branch would have each load wait for the one before. Of $TENSOR_free nobody looks at them, and they may be anything. Of bytes elements are
// words of four, with the scale of a row behind them.

#import shared/place.wgsl TENSOR=$TENSOR

/// Where the row of a key begins, counted from the first: side by side with the others, or in the page that
/// `list` names for it.
fn place_$TENSOR(list: u32, key: u32) -> u32 {
#if PAGED
  return tables[list + (key >> p.page_shift)] * p.$TENSOR_batch +
    (key & ((1u << p.page_shift) - 1)) * p.$TENSOR_row;
#else
  return key * p.$TENSOR_row;
#end
}

#if $TENSOR_smooth
/// What was subtracted from a key's vector: `means` counts words from the beginning of its page.
fn mean_$TENSOR(list: u32, key: u32, means: u32, index: u32) -> vec4f {
  if (index >= p.dim_vectors) {
    return vec4f(0);
  }
  let at = tables[list + (key >> p.page_shift)] * p.$TENSOR_batch + means + 4 * index;
  return bitcast<vec4f>(vec4u($TENSOR[at], $TENSOR[at + 1], $TENSOR[at + 2], $TENSOR[at + 3]));
}
#end

#if $TENSOR_int8
@group(0) @binding($BINDING) var<storage, read> $TENSOR: array<u32>;

fn load_$TENSOR(at: u32, index: u32, extent: u32) -> vec4f {
  let vectors = (extent + 3) / 4;
  if (index >= vectors) {
    return vec4f(0);
  }
  let four = vec4i(vec4u($TENSOR[at + index]) << vec4u(24, 16, 8, 0)) >> vec4u(24);
  return vec4f(four) * bitcast<f32>($TENSOR[at + vectors]);
}
#else
#if $TENSOR_f32
#if $TENSOR_vec
@group(0) @binding($BINDING) var<storage, read> $TENSOR: array<vec4f>;

fn load_$TENSOR(at: u32, index: u32, extent: u32) -> vec4f {
#if $TENSOR_free
  return $TENSOR[at / 4 + index];
#else
  return select(vec4f(0), $TENSOR[at / 4 + index], 4 * index < extent);
#end
}
#else
@group(0) @binding($BINDING) var<storage, read> $TENSOR: array<f32>;

fn load_$TENSOR(at: u32, index: u32, extent: u32) -> vec4f {
  var four = vec4f(0);
  for (var i = 0u; i < min(4, extent - min(extent, 4 * index)); i++) {
    four[i] = $TENSOR[at + (4 * index + i) * p.$TENSOR_column];
  }
  return four;
}
#end
#else
#if $TENSOR_vec
@group(0) @binding($BINDING) var<storage, read> $TENSOR: array<vec2u>;

fn load_$TENSOR(at: u32, index: u32, extent: u32) -> vec4f {
#if $TENSOR_free
  let words = $TENSOR[at / 4 + index];
#else
  let words = select(vec2u(0), $TENSOR[at / 4 + index], 4 * index < extent);
#end
#if $TENSOR_f16
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
#else
  return bitcast<vec4f>(
    vec4u(words.x << 16, words.x & 0xffff0000, words.y << 16, words.y & 0xffff0000),
  );
#end
}
#else
@group(0) @binding($BINDING) var<storage, read> $TENSOR: array<u32>;

fn load_$TENSOR(at: u32, index: u32, extent: u32) -> vec4f {
  var four = vec4f(0);
  for (var i = 0u; i < min(4, extent - min(extent, 4 * index)); i++) {
    let element = at + (4 * index + i) * p.$TENSOR_column;
    let bits = ($TENSOR[element / 2] >> (element % 2 * 16)) & 0xffff;
#if $TENSOR_f16
    four[i] = unpack2x16float(bits).x;
#else
    four[i] = bitcast<f32>(bits << 16);
#end
  }
  return four;
}
#end
#end
#end
