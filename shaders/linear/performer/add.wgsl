// Adds sums of parts to the state of a head, in their order, with what rounding takes from them beside (Kahan). Where
// rows see no later keys each part is told what was before it, in its place. A workgroup has one feature.

#import shared/parameters.wgsl
#import linear/performer/power.wgsl

@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
/// [heads]: sums, then what they lack, without exponents.
@group(0) @binding(2) var<storage, read_write> state: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let feature = group.x;
  let own = group.y * p.state_size;
  let parts = group.y * p.parts * p.sums_size;
  let columns = 4 * p.value_vectors;
  var m = LOWEST;
  if (p.is_first == 0) {
    m = state[own + feature];
  }
  for (var index = lid; index <= columns; index += 64) {
    let at = select(2 * p.lanes + feature * columns + index, p.lanes + feature, index == columns);
    let rest_at = own + p.sums_size + at - p.lanes;
    var sum = 0.0;
    var rest = 0.0;
    if (p.is_first == 0) {
      sum = state[own + at];
      rest = state[rest_at];
    }
    var before = m;
    for (var part = 0u; part < p.parts; part++) {
      let sums_at = parts + part * p.sums_size;
      let own_m = sums[sums_at + feature];
      let now = max(before, own_m);
      let one = sums[sums_at + at] * power_of_2(own_m - now);
#if CAUSAL
      sums[sums_at + at] = sum;
#end
      let old = sum * power_of_2(before - now);
      let more = rest * power_of_2(before - now) + one;
      sum = old + more;
      // A compiler that reckons (a + b) - a = b is kept from it by a 0 that it does not know.
      rest = more - ((sum + p.zero) - old);
      before = now;
    }
    state[own + at] = sum;
    state[rest_at] = rest;
  }
  storageBarrier();
  workgroupBarrier();
  if (lid == 0) {
    for (var part = 0u; part < p.parts; part++) {
      let at = parts + part * p.sums_size + feature;
      let own_m = sums[at];
#if CAUSAL
      sums[at] = m;
#end
      m = max(m, own_m);
    }
    state[own + feature] = m;
  }
}
