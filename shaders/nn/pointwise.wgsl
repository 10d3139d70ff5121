// A function of each number, with another added to it or multiplied with it. One thread for four neighbours.

#import shared/parameters.wgsl
#import nn/activate.wgsl
#import nn/input.wgsl TENSOR=x BINDING=1
#if Y
#import nn/input.wgsl TENSOR=y BINDING=2
#end
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.columns

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  // A row may have more vectors than threads lie along one axis.
  let thread = (group.y * groups.x + group.x) * THREADS + lid;
  let row = thread / p.vectors;
  let index = thread % p.vectors;
  if (row >= p.rows) {
    return;
  }
  var four = activate(load_x(at_x(0, 0, row), index, p.columns));
#if Y
  let other = load_y(at_y(0, 0, row), index, p.columns);
  if (p.is_sum == 1) {
    four += other;
  } else {
    four *= other;
  }
#end
  store_out(at_out(0, 0, row), index, four);
}
