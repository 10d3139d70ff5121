// Products of matrices, y = a x: a workgroup computes 32 rows by 16 vectors of y of one head, each thread four rows of
// one vector. Sums are formed in runs, those of runs in parts, and these are summed: errors of rounding do not grow
// with the depth then.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=a BINDING=1
#import shared/load.wgsl TENSOR=x BINDING=2
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.columns

/// Threads along the columns, and along the rows.
const TX = 16u;
const TY = 8u;
/// Rows of a workgroup.
const ROWS = 32u;
/// Of the depth, what is in workgroup memory at once: vectors of a, and rows of x.
const DEPTH_VECTORS = 4u;
const DEPTH = 16u;
/// Of the depth, what is in a run, and in a part.
const RUN = 128u;
const PART = 8192u;

/// Rows of a, as [row][vector].
var<workgroup> rows_of_a: array<vec4f, ROWS * DEPTH_VECTORS>;
/// Rows of x, as [row][vector].
var<workgroup> rows_of_x: array<vec4f, DEPTH * TX>;

fn stage(lid: u32, a_base: u32, x_base: u32, first_row: u32, first_vector: u32, from: u32) {
  // As many threads as vectors of a.
  let row = first_row + lid / DEPTH_VECTORS;
  let vector = from / 4 + lid % DEPTH_VECTORS;
  rows_of_a[lid] = vec4f(0);
  if (row < p.rows) {
    rows_of_a[lid] = load_a(a_base + row * p.a_row, vector, p.depth);
  }
  for (var i = lid; i < DEPTH * TX; i += TX * TY) {
    let depth = from + i / TX;
    rows_of_x[i] = vec4f(0);
    if (depth < p.depth) {
      rows_of_x[i] = load_x(x_base + depth * p.x_row, first_vector + i % TX, p.columns);
    }
  }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  let first_row = group_id.x / p.vector_tiles * ROWS;
  let first_vector = group_id.x % p.vector_tiles * TX;
  let a_base = at_a(group_id.z, group_id.y, 0);
  let x_base = at_x(group_id.z, group_id.y, 0);
#for i in 4
  var sum_$i = vec4f(0);
  var part_$i = vec4f(0);
  var run_$i = vec4f(0);
#end
  for (var from = 0u; from < p.depth; from += DEPTH) {
    if (from % RUN == 0) {
#for i in 4
      part_$i += run_$i;
      run_$i = vec4f(0);
#end
    }
    if (from % PART == 0) {
#for i in 4
      sum_$i += part_$i;
      part_$i = vec4f(0);
#end
    }
    workgroupBarrier();
    stage(lid, a_base, x_base, first_row, first_vector, from);
    workgroupBarrier();
    for (var d = 0u; d < DEPTH_VECTORS; d++) {
#for j in 4
      let x_$j = rows_of_x[(4 * d + $j) * TX + tx];
#end
#for i in 4
      {
        let a = rows_of_a[(4 * ty + $i) * DEPTH_VECTORS + d];
        run_$i += a.x * x_0;
        run_$i += a.y * x_1;
        run_$i += a.z * x_2;
        run_$i += a.w * x_3;
      }
#end
    }
  }
#for i in 4
  {
    let row = first_row + 4 * ty + $i;
    if (row < p.rows) {
      store_out(at_out(group_id.z, group_id.y, row), first_vector + tx, sum_$i + (part_$i + run_$i));
    }
  }
#end
}
