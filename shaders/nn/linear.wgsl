// A linear layer of many rows: a workgroup has 4 * TY of them, and 64 outputs; each thread four rows of two vectors of
// outputs. Sums go through the inputs in their order.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=x BINDING=1
#import nn/weight.wgsl
#import nn/finish.wgsl

/// Threads along the outputs, and vectors of outputs.
const TX = 8u;
const VECTORS = 16u;
/// Vectors of inputs that are in workgroup memory at once.
const DEPTH = 8u;

/// As [row][vector], and [input][vector of outputs].
var<workgroup> rows_of_x: array<vec4f, 4 * TY * DEPTH>;
var<workgroup> weights: array<vec4f, 4 * DEPTH * VECTORS>;

fn stage(lid: u32, first_row: u32, first_vector: u32, from: u32) {
  for (var i = lid; i < 4 * TY * DEPTH; i += TX * TY) {
    let row = first_row + i / DEPTH;
    var four = vec4f(0);
    if (row < p.rows) {
      four = load_x(at_x(0, 0, row), from + i % DEPTH, p.inputs);
    }
    rows_of_x[i] = four;
  }
  for (var i = lid; i < DEPTH * VECTORS; i += TX * TY) {
    let vector = first_vector + i % VECTORS;
    let at = i / VECTORS * 4 * VECTORS + i % VECTORS;
    var all = mat4x4f();
    if (vector < p.vectors) {
      all = load_weights(vector, from + i / VECTORS);
    }
#for j in 4
    weights[at + $j * VECTORS] = all[$j];
#end
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let tx = lid % TX;
  let ty = lid / TX;
  let first_row = group.y * 4 * TY;
  let first_vector = group.x * VECTORS;
#for i in 4
  var sum_$i_0 = vec4f(0);
  var sum_$i_1 = vec4f(0);
#end
  for (var from = 0u; 4 * from < p.inputs; from += DEPTH) {
    workgroupBarrier();
    stage(lid, first_row, first_vector, from);
    workgroupBarrier();
    for (var d = 0u; d < DEPTH; d++) {
#for i in 4
      let x_$i = rows_of_x[(4 * ty + $i) * DEPTH + d];
#end
#for j in 4
      {
        let first = weights[(4 * d + $j) * VECTORS + tx];
        let second = weights[(4 * d + $j) * VECTORS + tx + TX];
#for i in 4
        sum_$i_0 = fma(vec4f(x_$i[$j]), first, sum_$i_0);
        sum_$i_1 = fma(vec4f(x_$i[$j]), second, sum_$i_1);
#end
      }
#end
    }
  }
#for i in 4
  {
    let row = first_row + 4 * ty + $i;
    if (row < p.rows) {
      finish(row, first_vector + tx, sum_$i_0);
      finish(row, first_vector + tx + TX, sum_$i_1);
    }
  }
#end
}
