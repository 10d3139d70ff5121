// Results of 16 rows: of sums over all keys, or of those before the rows and of the keys of the 16 that each sees. Each
// row has a shift of its own, the greatest exponent of what it sees, so that none loses its keys. A thread has a row and
// four vectors of results.

#import shared/parameters.wgsl
#import linear/performer/power.wgsl
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.out_columns

@group(0) @binding(1) var<storage, read> queries: array<f32>;
/// As learn.wgsl leaves them, `sums_head` numbers from one head to the next, and `sums_part` from one part.
@group(0) @binding(2) var<storage, read> sums: array<f32>;
#if CAUSAL
#import shared/load.wgsl TENSOR=v BINDING=5
@group(0) @binding(3) var<storage, read> keys: array<f32>;
var<workgroup> weights_tile: array<f32, 256>;

fn four_of_queries(at: u32, count: u32) -> vec4f {
  var four = vec4f(0);
  for (var i = 0u; i < min(4, count); i++) {
    four[i] = queries[at + i];
  }
  return four;
}

fn four_of_keys(at: u32, count: u32) -> vec4f {
  var four = vec4f(0);
  for (var i = 0u; i < min(4, count); i++) {
    four[i] = keys[at + i];
  }
  return four;
}
#end

/// [16 features][16 rows], and [16 features][16 vectors].
var<workgroup> features_tile: array<f32, 256>;
var<workgroup> values_tile: array<vec4f, 256>;
var<workgroup> z_tile: array<f32, 16>;
var<workgroup> exchange: array<f32, 64>;

/// The reciprocal, where devices may be off by more than one rounding; 0 of 0.
fn inverse_of(l: f32) -> f32 {
  let inverse = 1 / l;
  return select(fma(inverse, fma(-l, inverse, 1), inverse), 0.0, l == 0);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let first = 16 * group.x;
  let head = group.y;
  let key_head = head / p.group;
  let begin = 16 * group.z;
  let own = lid % 16;
  let lane = lid / 16;
  let row = min(first + own, p.rows - 1);
  let query = (head * p.rows + row) * p.features;
  let sums_at = key_head * p.sums_head + group.x * p.sums_part;
  let vectors_at = sums_at + 2 * p.lanes;
  let key_at = (key_head * p.rows + first) * p.features;
  let seen = row - first + 1;

  // The greatest exponent.
  var shift = 0.0;
#if RELU
#else
  var most = LOWEST;
  for (var r = lane; r < p.features; r += 4) {
    var level = sums[sums_at + r];
#if CAUSAL
    for (var key = 0u; key < seen; key++) {
      level = max(level, keys[key_at + key * p.features + r]);
    }
#end
    most = max(most, queries[query + r] + level);
  }
  exchange[lid] = most;
  workgroupBarrier();
  let pairs = max(vec2f(exchange[own], exchange[own + 16]), vec2f(exchange[own + 32], exchange[own + 48]));
  shift = max(pairs.x, pairs.y);
#end

  // Sums of products, 16 features at a time.
  var n = 0.0;
#for i in 4
  var sum_$i = vec4f(0);
  var weight_$i = 0.0;
#end
  for (var from = 0u; from < p.features; from += 16) {
    workgroupBarrier();
    for (var index = lid; index < 256; index += 64) {
      let r = from + index / 16;
      features_tile[index] = 0;
      values_tile[index] = vec4f(0);
      if (r < p.features) {
        let x = queries[query + r];
#if RELU
        features_tile[index] = x;
#else
        features_tile[index] = powers_of_2(vec4f(x + sums[sums_at + r] - shift)).x;
#end
        let vector = begin + index % 16;
        if (vector < p.value_vectors) {
          let at = vectors_at + 4 * (r * p.value_vectors + vector);
          values_tile[index] = vec4f(sums[at], sums[at + 1], sums[at + 2], sums[at + 3]);
        }
      }
    }
    if (lid < 16) {
      z_tile[lid] = sums[sums_at + p.lanes + min(from + lid, p.features - 1)];
    }
    workgroupBarrier();
    var n_run = 0.0;
#for i in 4
    var run_$i = vec4f(0);
#end
    for (var at = 0u; at < 16; at++) {
      let x = features_tile[16 * at + own];
      n_run += x * z_tile[at];
#for i in 4
      run_$i += x * values_tile[16 * at + 4 * lane + $i];
#end
    }
    n += n_run;
#for i in 4
    sum_$i += run_$i;
#end
#if CAUSAL
#for i in 4
    if (4 * lane + $i < seen) {
      let at_$i = key_at + (4 * lane + $i) * p.features;
      for (var r = from; r < min(from + 16, p.features); r += 4) {
        let x = four_of_queries(query + r, p.features - r);
        let y = four_of_keys(at_$i + r, p.features - r);
#if RELU
        let products = x * y;
#else
        let is_feature = vec4u(0, 1, 2, 3) < vec4u(p.features - r);
        let products = select(vec4f(0), powers_of_2(x + y - shift), is_feature);
#end
        weight_$i += (products.x + products.y) + (products.z + products.w);
      }
    }
#end
#end
  }

#if CAUSAL
  // What the row sees of its own 16.
#for i in 4
  weights_tile[16 * (4 * lane + $i) + own] = weight_$i;
#end
  workgroupBarrier();
  for (var key = 0u; key < seen; key++) {
    let weight = weights_tile[16 * key + own];
    n += weight;
    let v_at = at_v(0, key_head, first + key);
#for i in 4
    sum_$i += weight * load_v(v_at, begin + 4 * lane + $i, p.out_columns);
#end
  }
#end
  if (first + own >= p.rows) {
    return;
  }
  let by = inverse_of(n);
  let out_row = at_out(0, head, first + own);
#for i in 4
  store_out(out_row, begin + 4 * lane + $i, sum_$i * by);
#end
}
