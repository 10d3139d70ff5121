// load_weights(vector, unit): four neighbouring outputs of a packed weight, for the four inputs from 4 * unit on. Panels of
// eight outputs lie as `src/operations/nn/packed.ts` draws them; outputs are counted from the first that is bound, in
// vectors of four. Inputs that are not there are 0.

#if WEIGHT_BLOCKS
/// Inputs share a scale with the others of their block of 32.
@group(0) @binding(3) var<storage, read> scales: array<vec4f>;
#if WEIGHT_INT4
/// Four inputs of two outputs in a word.
@group(0) @binding(2) var<storage, read> weight: array<vec2u>;

fn inputs_of(word: u32) -> vec4f {
  return vec4f((vec4u(word) >> vec4u(0, 4, 8, 12)) & vec4u(15)) - 8;
}
#else
/// Four inputs of an output in a word.
@group(0) @binding(2) var<storage, read> weight: array<vec4u>;

fn inputs_of(word: u32) -> vec4f {
  return vec4f(vec4i(vec4u(word) << vec4u(24, 16, 8, 0)) >> vec4u(24));
}
#end

fn load_weights(vector: u32, unit: u32) -> mat4x4f {
  if (4 * unit >= p.inputs) {
    return mat4x4f();
  }
  let panel = vector / 2;
  let stored = weight[(panel * p.blocks * 8 + unit) * 2 + vector % 2];
#if WEIGHT_INT4
  let words = vec4u(stored.x, stored.x >> 16, stored.y, stored.y >> 16);
#else
  let words = stored;
#end
  let scale = scales[(panel * p.blocks + unit / 8) * 4 + vector % 2];
  let by_output = mat4x4f(
    inputs_of(words.x) * scale.x,
    inputs_of(words.y) * scale.y,
    inputs_of(words.z) * scale.z,
    inputs_of(words.w) * scale.w,
  );
  return transpose(by_output);
}
#else
#if WEIGHT_F32
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;

fn four_weights(at: u32) -> vec4f {
  return weight[at];
}
#else
@group(0) @binding(2) var<storage, read> weight: array<vec2u>;

fn four_weights(at: u32) -> vec4f {
  let words = weight[at];
#if WEIGHT_F16
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
#else
  return bitcast<vec4f>(
    vec4u(words.x << 16, words.x & 0xffff0000, words.y << 16, words.y & 0xffff0000),
  );
#end
}
#end

fn load_weights(vector: u32, unit: u32) -> mat4x4f {
  var all = mat4x4f();
  let first = (vector / 2 * p.inputs + 4 * unit) * 2 + vector % 2;
#for j in 4
  if (4 * unit + $j < p.inputs) {
    all[$j] = four_weights(first + $(2*j));
  }
#end
  return all;
}
#end
