// Sums over the keys of a part, of each feature: the whole exponent m that all others are less, z, and S. A workgroup has
// 16 features, and a thread one of them and four vectors of values.

#import shared/parameters.wgsl
#import linear/performer/power.wgsl
#import shared/load.wgsl TENSOR=v BINDING=2

@group(0) @binding(1) var<storage, read> exponents: array<f32>;
/// [heads][parts]: m[lanes], z[lanes], S[features][4 * vectors].
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

/// [16 keys][16 features], and [16 keys][16 vectors].
var<workgroup> features_tile: array<f32, 256>;
var<workgroup> values_tile: array<vec4f, 256>;
var<workgroup> exchange: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let head = group.y;
  let own = lid % 16;
  let lane = lid / 16;
  let feature = 16 * group.z + own;
  let column = min(feature, p.features - 1);
  let from = group.x * p.part;
  let to = min(p.rows, from + p.part);
  let rows_at = head * p.rows;
  let sums_at = (head * p.parts + group.x) * p.sums_size;
#if RELU
  let m = 0.0;
#else
  var most = LOWEST;
  for (var key = from + lane; key < to; key += 4) {
    most = max(most, exponents[(rows_at + key) * p.features + column]);
  }
  exchange[lid] = most;
  workgroupBarrier();
  let pairs = max(vec2f(exchange[own], exchange[own + 16]), vec2f(exchange[own + 32], exchange[own + 48]));
  let m = ceil(max(pairs.x, pairs.y));
#end
  for (var begin = 0u; begin < p.value_vectors; begin += 16) {
    var z = 0.0;
#for i in 4
    var sum_$i = vec4f(0);
#end
    for (var key = from; key < to; key += 16) {
      workgroupBarrier();
      for (var index = lid; index < 256; index += 64) {
        let row = key + index / 16;
        features_tile[index] = 0;
        values_tile[index] = vec4f(0);
        if (row < to) {
          let x = exponents[(rows_at + row) * p.features + column];
#if RELU
          features_tile[index] = x;
#else
          features_tile[index] = powers_of_2(vec4f(x - m)).x;
#end
          values_tile[index] = load_v(at_v(0, head, row), begin + index % 16, p.out_columns);
        }
      }
      workgroupBarrier();
      var z_run = 0.0;
#for i in 4
      var run_$i = vec4f(0);
#end
      for (var at = 0u; at < 16; at++) {
        let x = features_tile[16 * at + own];
        z_run += x;
#for i in 4
        run_$i += x * values_tile[16 * at + 4 * lane + $i];
#end
      }
      z += z_run;
#for i in 4
      sum_$i += run_$i;
#end
    }
    if (feature < p.features) {
#for i in 4
      if (begin + 4 * lane + $i < p.value_vectors) {
        let at_$i = sums_at + 2 * p.lanes + 4 * (feature * p.value_vectors + begin + 4 * lane + $i);
        for (var at = 0u; at < 4; at++) {
          sums[at_$i + at] = sum_$i[at];
        }
      }
#end
      if (begin + lane == 0) {
        sums[sums_at + feature] = m;
        sums[sums_at + p.lanes + feature] = z;
      }
    }
  }
}
