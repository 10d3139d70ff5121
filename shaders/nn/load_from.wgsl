// load_$TENSOR(at, index, extent), as shared/load.wgsl has it, of a tensor that lies in the buffer of a result: no
// dispatch may have one buffer to read and another time to write.

#import shared/place.wgsl TENSOR=$TENSOR

#if $FROM_vec
fn load_$TENSOR(at: u32, index: u32, extent: u32) -> vec4f {
  if (4 * index >= extent) {
    return vec4f(0);
  }
#if $FROM_f32
  return $FROM[at / 4 + index];
#else
  let words = $FROM[at / 4 + index];
#if $FROM_f16
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
#else
  return bitcast<vec4f>(
    vec4u(words.x << 16, words.x & 0xffff0000, words.y << 16, words.y & 0xffff0000),
  );
#end
#end
}
#else
fn load_$TENSOR(at: u32, index: u32, extent: u32) -> vec4f {
  var four = vec4f(0);
  for (var i = 0u; i < min(4, extent - min(extent, 4 * index)); i++) {
    let element = at + (4 * index + i) * p.$TENSOR_column;
#if $FROM_f32
    four[i] = $FROM[element];
#else
    let bits = (atomicLoad(&$FROM[element / 2]) >> (element % 2 * 16)) & 0xffff;
#if $FROM_f16
    four[i] = unpack2x16float(bits).x;
#else
    four[i] = bitcast<f32>(bits << 16);
#end
#end
  }
  return four;
}
#end
