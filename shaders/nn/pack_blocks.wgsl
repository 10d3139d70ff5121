// Packs a weight in blocks of a GGUF file: a scale in f16, then 32 bytes, or 16 with two numbers of four bits each, of which
// the low ones come first. A thread has a block of each of four outputs.

#import shared/parameters.wgsl

/// A block begins at an even byte.
@group(0) @binding(1) var<storage, read> source: array<u32>;
#if Q4
@group(0) @binding(4) var<storage, read_write> packed: array<vec2u>;
#else
@group(0) @binding(4) var<storage, read_write> packed: array<vec4u>;
#end
@group(0) @binding(5) var<storage, read_write> scales: array<vec4f>;

/// Two bytes of the source.
fn two_at(byte: u32) -> u32 {
  return (source[byte / 4] >> (byte % 4 * 8)) & 0xffff;
}

/// Four numbers from the `unit`-th four of a block on: bytes, or halves of them side by side.
fn four_at(block: u32, unit: u32) -> u32 {
#if Q4
  let byte = block + 2 + unit % 4 * 4;
  let bits = (two_at(byte) | (two_at(byte + 2) << 16)) >> (unit / 4 * 4);
  let four = (vec4u(bits) >> vec4u(0, 8, 16, 24)) & vec4u(15);
  return four.x | (four.y << 4) | (four.z << 8) | (four.w << 12);
#else
  let byte = block + 2 + unit * 4;
  return two_at(byte) | (two_at(byte + 2) << 16);
#end
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let block = id.x;
  let vector = id.y;
  if (block >= p.units) {
    return;
  }
  let firsts = ((4 * vector + vec4u(0, 1, 2, 3)) * p.units + block) * BLOCK_BYTES;
  let is_there = 4 * vector + vec4u(0, 1, 2, 3) < vec4u(p.outputs);
  var scale = vec4f(0);
#for i in 4
  if (is_there[$i]) {
    scale[$i] = unpack2x16float(two_at(firsts[$i])).x;
  }
#end
  scales[(vector / 2 * p.units + block) * 4 + vector % 2] = scale;
  for (var unit = 0u; unit < 8; unit++) {
    var words = vec4u(0);
#for i in 4
    if (is_there[$i]) {
      words[$i] = four_at(firsts[$i], unit);
    }
#end
    let at = (vector / 2 * p.units * 8 + 8 * block + unit) * 2 + vector % 2;
#if Q4
    packed[at] = vec2u(words.x | (words.y << 16), words.z | (words.w << 16));
#else
    packed[at] = words;
#end
  }
}
