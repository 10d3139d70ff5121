// A linear layer of at most ROWS rows: a workgroup has one panel, each thread every LANES-th four inputs of four outputs,
// and their sums are added up in pairs.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=x BINDING=1
#import nn/weight.wgsl
#import nn/finish.wgsl

const LANES = 32u;

/// As [row][lane][vector].
var<workgroup> sums: array<vec4f, ROWS * LANES * 2>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let vector = 2 * group.x + lid % 2;
  let lane = lid / 2;
#for i in ROWS
  let x_$i = at_x(0, 0, min(p.rows - 1, $i));
  var sum_$i = vec4f(0);
#end
  for (var unit = lane; 4 * unit < p.inputs; unit += LANES) {
    let all = load_weights(vector, unit);
#for i in ROWS
    {
      let four = load_x(x_$i, unit, p.inputs);
#for j in 4
      sum_$i = fma(vec4f(four[$j]), all[$j], sum_$i);
#end
    }
#end
  }
#for i in ROWS
  sums[$i * LANES * 2 + lid] = sum_$i;
#end
  for (var step = LANES / 2; step > 0; step /= 2) {
    workgroupBarrier();
    if (lane < step) {
#for i in ROWS
      sums[$i * LANES * 2 + lid] += sums[$i * LANES * 2 + lid + 2 * step];
#end
    }
  }
  if (lane > 0) {
    return;
  }
#for i in ROWS
  if ($i < p.rows) {
    finish($i, vector, sums[$i * LANES * 2 + lid]);
  }
#end
}
