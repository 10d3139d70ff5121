// Adds up what workgroups have summed of an array's elements, one after the other.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
@group(0) @binding(1) var<storage, read> sums: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> gradient: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  for (var i = id.x; i < p.count; i += groups.x * THREADS) {
    var sum = 0.0;
    var rest = 0.0;
    for (var group = 0u; group < p.groups; group++) {
      let one = sums[p.first + group * p.sums + i];
      let added = rest + one.y + one.x;
      let next = sum + added;
      rest = taken(vec4f(sum), vec4f(added), vec4f(next)).x;
      sum = next;
    }
    gradient[i] = sum + rest;
  }
}
