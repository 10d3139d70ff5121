// store_$TENSOR(at, index, value): writes four neighbouring elements of a row that begins at element `at`,
// rounded to nearest, ties to even. Elements from `$COLUMNS` on are not there.

#import shared/place.wgsl TENSOR=$TENSOR
#if $TENSOR_f32
#if $TENSOR_vec
@group(0) @binding($BINDING) var<storage, read_write> $TENSOR: array<vec4f>;

fn store_$TENSOR(at: u32, index: u32, value: vec4f) {
  if (4 * index < $COLUMNS) {
    $TENSOR[at / 4 + index] = value;
  }
}
#else
@group(0) @binding($BINDING) var<storage, read_write> $TENSOR: array<f32>;

fn store_$TENSOR(at: u32, index: u32, value: vec4f) {
  for (var i = 0u; i < min(4, $COLUMNS - min($COLUMNS, 4 * index)); i++) {
    $TENSOR[at + (4 * index + i) * p.$TENSOR_column] = value[i];
  }
}
#end
#else
#import shared/narrow.wgsl TENSOR=$TENSOR
#if $TENSOR_vec
@group(0) @binding($BINDING) var<storage, read_write> $TENSOR: array<vec2u>;

fn store_$TENSOR(at: u32, index: u32, value: vec4f) {
  if (4 * index < $COLUMNS) {
    $TENSOR[at / 4 + index] = vec2u(
      narrow_$TENSOR(value.x) | (narrow_$TENSOR(value.y) << 16),
      narrow_$TENSOR(value.z) | (narrow_$TENSOR(value.w) << 16),
    );
  }
}
#else
// Two elements share a word and may belong to different threads.
@group(0) @binding($BINDING) var<storage, read_write> $TENSOR: array<atomic<u32>>;

fn store_$TENSOR(at: u32, index: u32, value: vec4f) {
  for (var i = 0u; i < min(4, $COLUMNS - min($COLUMNS, 4 * index)); i++) {
    let element = at + (4 * index + i) * p.$TENSOR_column;
    let shift = element % 2 * 16;
    atomicAnd(&$TENSOR[element / 2], ~(0xffffu << shift));
    atomicOr(&$TENSOR[element / 2], narrow_$TENSOR(value[i]) << shift);
  }
}
#end
#end

#if LSE
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
#end
