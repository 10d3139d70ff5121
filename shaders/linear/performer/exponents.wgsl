// Exponents of the features of rows, to base 2, or features of the relu kernel: [heads][rows][features]. A workgroup has
// 16 rows and a thread for each of 64 features.

#import shared/parameters.wgsl
#import shared/load.wgsl TENSOR=x BINDING=1
#import shared/load.wgsl TENSOR=w BINDING=2

@group(0) @binding(3) var<storage, read_write> exponents: array<f32>;

/// Rows of a workgroup, some columns at a time: [16 rows][16 vectors].
var<workgroup> tile: array<vec4f, 256>;
var<workgroup> squares: array<f32, 16>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let first = 16 * group.x;
  let head = group.y;
  let feature = 64 * group.z + lid;
  let direction = at_w(0, head / p.group, min(feature, p.features - 1));
#for i in 16
  var sum_$i = 0.0;
#end
  var square = 0.0;
  for (var from = 0u; from < p.vectors; from += 16) {
    workgroupBarrier();
    for (var index = lid; index < 256; index += 64) {
      let row = min(first + index / 16, p.rows - 1);
      tile[index] = load_x(at_x(0, head, row), from + index % 16, p.columns);
    }
    workgroupBarrier();
    for (var at = 0u; at < min(16, p.vectors - from); at++) {
      let w_four = load_w(direction, from + at, p.columns);
#for i in 16
      sum_$i += dot(w_four, tile[$(16*i) + at]);
#end
#if KEYS
      if (lid < 16) {
        square += dot(tile[16 * lid + at], tile[16 * lid + at]);
      }
#end
    }
  }
#if KEYS
  if (lid < 16) {
    squares[lid] = square * p.square;
  }
  workgroupBarrier();
#end
  if (feature >= p.features) {
    return;
  }
#for i in 16
  if (first + $i < p.rows) {
#if RELU
    let value_$i = max(sum_$i * p.factor, 0) + 1e-3;
#else
#if KEYS
    let value_$i = sum_$i * p.factor - squares[$i];
#else
    let value_$i = sum_$i * p.factor;
#end
#end
    exponents[(head * p.rows + first + $i) * p.features + feature] = value_$i;
  }
#end
}
