// Summaries of blocks of rows, copies of the rows behind them, or both: a workgroup has a block. Of each block the mean, or
// the sum weighted by a pool over that of the weights. Sums are formed in runs, whose sums are summed.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=x BINDING=1
#if POOL
#import shared/load.wgsl TENSOR=pool BINDING=2
#end
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.columns

/// Threads along the columns, and along the rows.
const TX = 16u;
const TY = 16u;
/// Rows of a thread in a run.
const RUN = 32u;

/// Sums of each thread, and of its weights.
var<workgroup> sums: array<vec4f, TX * TY>;
var<workgroup> weights: array<f32, TX * TY>;

fn weight_of(head: u32, t: u32) -> f32 {
#if POOL
  let four = load_pool(at_pool(0, head, 0), t / 4, p.block);
  return four[t % 4];
#else
  return 1;
#end
}

/// Adds up what the threads of a column have.
fn across_rows(lid: u32) {
  for (var step = TY / 2; step > 0; step /= 2) {
    workgroupBarrier();
    if (lid / TX < step) {
      sums[lid] += sums[lid + step * TX];
      weights[lid] += weights[lid + step * TX];
    }
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  // Rows are counted from the first block of the dispatch, those of results from its summary.
  let block = group_id.x;
  let first = block * p.block;
  let count = min(p.block, p.rows - first);
  let x_base = at_x(group_id.z, group_id.y, first);
#if COPIES
  let copy_base = at_out(group_id.z, group_id.y, p.first_copy + first);
#end
  for (var start = 0u; start < p.vectors; start += TX) {
    let vector = start + tx;
#if SUMMARIES
    var sum = vec4f(0);
    var run = vec4f(0);
    var total = 0.0;
#end
    for (var t = ty; t < count; t += TY) {
      let four = load_x(x_base + t * p.x_row, vector, p.columns);
#if COPIES
      store_out(copy_base + t * p.out_row, vector, four);
#end
#if SUMMARIES
      let weight = weight_of(group_id.y, t);
      run += weight * four;
      total += weight;
      if (t / TY % RUN == RUN - 1) {
        sum += run;
        run = vec4f(0);
      }
#end
    }
#if SUMMARIES
    workgroupBarrier();
    sums[lid] = sum + run;
    weights[lid] = total;
    across_rows(lid);
    if (ty == 0) {
      store_out(at_out(group_id.z, group_id.y, block), vector, sums[lid] / weights[lid]);
    }
#end
  }
}
