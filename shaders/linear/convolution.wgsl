// Lightweight and dynamic convolution: a workgroup has ROWS rows. First it makes their taps, LANES threads a row: a
// softmax of the row's weights. Then each thread sums four rows of four columns; every row in the order of its taps,
// wherever it is among the four, so that its bits do not depend on that.

#import shared/parameters.wgsl
#import shared/exp.wgsl
#import rows/inverse.wgsl
#import linear/around.wgsl
#import shared/load.wgsl TENSOR=weights BINDING=2
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.columns

/// Stands for minus infinity, which WGSL may take as never happening.
const LOWEST: f32 = -3.4028234663852886e38;
/// Taps of a row at most, in vectors.
const VECTORS: u32 = 32;

var<workgroup> taps: array<vec4f, ROWS * VECTORS>;
var<workgroup> exchange: array<vec2f, ROWS * LANES>;

struct Weights {
  four: vec4f,
  seen: vec4<bool>,
  spoiled: bool,
}

fn weights_at(at: u32, index: u32) -> Weights {
  let four = load_weights(at, index, p.width);
  let bits = bitcast<vec4u>(four);
  let is_finite = (bits & vec4u(0x7f800000)) != vec4u(0x7f800000);
  let seen = 4 * index + vec4u(0, 1, 2, 3) < vec4u(p.width);
  let counts = seen & (is_finite | (bits != vec4u(0xff800000)));
  return Weights(
    select(vec4f(LOWEST), four, counts & is_finite),
    counts,
    any(counts & !is_finite),
  );
}

fn tap_of(row: u32, t: u32) -> f32 {
  return taps[row * VECTORS + t / 4][t % 4];
}

/// Taps of one row, by LANES threads.
fn make_taps(at: u32, own: u32, lane: u32) {
  let vectors = (p.width + 3) / 4;
  var most = LOWEST;
  var spoiled = false;
  for (var index = lane; index < vectors; index += LANES) {
    let one = weights_at(at, index);
    most = max(most, max(max(one.four.x, one.four.y), max(one.four.z, one.four.w)));
    spoiled |= one.spoiled;
  }
  exchange[own * LANES + lane] = vec2f(most, f32(spoiled));
  workgroupBarrier();
  var all = exchange[own * LANES];
#for i in LANES
  all = max(all, exchange[own * LANES + $i]);
#end
  var sum = vec4f(0);
  for (var index = lane; index < vectors; index += LANES) {
    let one = weights_at(at, index);
    let powers = select(vec4f(0), exp_of(one.four - all.x), one.seen);
    taps[own * VECTORS + index] = powers;
    sum += powers;
  }
  workgroupBarrier();
  exchange[own * LANES + lane].x = (sum.x + sum.y) + (sum.z + sum.w);
  workgroupBarrier();
  var l = 0.0;
#for i in LANES
  l += exchange[own * LANES + $i].x;
#end
  let by = select(inverse_of(l), p.not_a_number, all.y > 0);
  for (var index = lane; index < vectors; index += LANES) {
    taps[own * VECTORS + index] *= by;
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  // Threads of rows that are not there go along, since all meet at barriers.
  let first = group.x * ROWS;
  let bounded = min(first + lid / LANES, p.end_row - 1);
  make_taps(at_weights(group.z, group.y, bounded), lid / LANES, lid % LANES);
  workgroupBarrier();

  let own = lid / COLUMNS * 4;
  if (first + own >= p.end_row) {
    return;
  }
  for (var index = lid % COLUMNS; index < p.vectors; index += COLUMNS) {
#for i in 4
    var sum_$i = vec4f(0);
#end
    for (var step = 0u; step < p.width + 3; step++) {
      let row = i32(p.first_row + first + own + step) - i32(p.lead);
      if (!is_there(row)) {
        continue;
      }
      let x = load_row(group.z, group.y, row, index);
#for i in 4
      // Before its first tap the difference wraps.
      if (step - $i < p.width) {
        sum_$i = fma(vec4f(tap_of(own + $i, step - $i)), x, sum_$i);
      }
#end
    }
#for i in 4
    if (first + own + $i < p.end_row) {
      store_out(at_out(group.z, group.y, first + own + $i), index, sum_$i);
    }
#end
  }
}
