// What the shaders have in common that make integers: segments, and places for these.

#import shared/parameters.wgsl
#import shared/segment.wgsl
#import integer/places.wgsl

/// Keys of a segment that the range has.
fn keys_in(segment: Segment) -> u32 {
  return max(min(segment.keys, p.keys_end), p.keys_begin) - p.keys_begin;
}

fn write_four(at: u32, four: vec4u) {
  for (var i = 0u; i < 4; i++) {
    tables[at + i] = four[i];
  }
}
