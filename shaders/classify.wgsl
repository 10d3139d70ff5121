// Looks at a mask, and at a bias that all heads share, once before all heads do: which squares of
// CLASS by CLASS scores they hide, and of which they hide nothing. One thread for each square.

#import shared/parameters.wgsl
#import shared/hidden.wgsl
#import shared/place.wgsl TENSOR=bias
#import shared/place.wgsl TENSOR=mask
#import shared/place.wgsl TENSOR=class
@group(0) @binding(8) var<storage, read_write> tables: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let first_row = id.x / p.class_row * CLASS;
  let first_key = id.x % p.class_row * CLASS;
  if (first_row >= p.class_queries) {
    return;
  }
  var any_seen = false;
  var all_seen = true;
  for (var i = 0u; i < CLASS && (all_seen || !any_seen); i++) {
    let row = min(first_row + i, p.class_queries - 1);
    for (var j = 0u; j < CLASS; j += 4) {
      let keys = min(vec4u(first_key + j) + vec4u(0, 1, 2, 3), vec4u(p.class_keys - 1));
      var seen = vec4<bool>(true);
#if MASK
      seen = seen & read_mask(at_mask(id.z, id.y, row) + keys * p.mask_column);
#end
#if BIAS
      seen = seen & is_added(read_bias(at_bias(id.z, id.y, row) + keys * p.bias_column));
#end
      any_seen = any_seen || any(seen);
      all_seen = all_seen && all(seen);
    }
  }
  // SKIPPED, WHOLE and MIXED of shared/blocks.wgsl.
  let at = at_class(id.z, id.y, 0) + id.x;
  tables[at] = select(0u, select(2u, 1u, all_seen), any_seen);
}
