// The mean of each packed sequence's rows: a workgroup has a sequence, and TX vectors of columns. Sums are formed in runs,
// whose sums are summed.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=x BINDING=1
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.columns

/// Where each begins among the rows that are bound, and where the last ends.
@group(0) @binding(2) var<storage, read> bounds: array<u32>;

/// Threads along the columns, and along the rows.
const TX = 16u;
const TY = 16u;
/// Rows of a thread in a run.
const RUN = 32u;

var<workgroup> sums: array<vec4f, TX * TY>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let ty = lid / TX;
  let vector = group.y * TX + lid % TX;
  let first = bounds[group.x];
  let count = bounds[group.x + 1] - first;
  var total = vec4f(0);
  var run = vec4f(0);
  for (var t = ty; t < count; t += TY) {
    run += load_x(at_x(0, 0, first + t), vector, p.columns);
    if (t / TY % RUN == RUN - 1) {
      total += run;
      run = vec4f(0);
    }
  }
  sums[lid] = total + run;
  for (var step = TY / 2; step > 0; step /= 2) {
    workgroupBarrier();
    if (ty < step) {
      sums[lid] += sums[lid + step * TX];
    }
  }
  if (ty == 0) {
    store_out(at_out(0, 0, group.x), vector, sums[lid] / f32(max(count, 1)));
  }
}
