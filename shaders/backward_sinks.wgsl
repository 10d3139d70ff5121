// The gradient with respect to a sink: minus the sum of its weight times delta over the rows of its head. A workgroup
// for each query head.

#import shared/parameters.wgsl
#import shared/place.wgsl TENSOR=rows
#import shared/softmax.wgsl
#import shared/exp.wgsl
#import shared/segment.wgsl
@group(0) @binding(4) var<storage, read_write> d_sinks: array<f32>;

var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let head = group_id.x;
  let maximum = bitcast<f32>(tables[p.sinks_at + 2 * head]);
  let weight = bitcast<f32>(tables[p.sinks_at + 2 * head + 1]);
  var sum = vec4f(0);
  var lost = vec4f(0);
  for (var batch = 0u; batch < p.batches; batch++) {
    for (var row = lid; row < p.end_row; row += THREADS) {
      let at = at_rows(batch, head, row);
      let lse = bitcast<f32>(tables[at]);
      let delta = bitcast<f32>(tables[at + 1]);
      let rest = bitcast<f32>(tables[at + 2]);
      let term = lost - weight * exp_of(vec4f(maximum - lse - rest)).x * delta;
      let next = sum + term;
      lost = taken(sum, term, next);
      sum = next;
    }
  }
  sums[lid] = sum.x;
  workgroupBarrier();
  if (lid == 0) {
    var all = 0.0;
    for (var i = 0u; i < THREADS; i++) {
      all += sums[i];
    }
    // A sink of minus infinity is none. Other dispatches may have summed other rows, before.
    d_sinks[p.gradient_at + head * p.gradient_head] += select(all, 0.0, weight == 0);
  }
}
