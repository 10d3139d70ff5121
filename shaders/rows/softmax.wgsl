// Softmax and its logarithms, of whole rows: the maximum, the sum of powers against it, the results. LANES threads
// have a row, and a workgroup ROWS of them. Of a row of at most HELD vectors a thread, scores stay in registers;
// longer ones (HELD is 0) are read once for each step, and summed in runs, each of which begins with what rounding
// took from the sum of those before: errors do not grow with length then.

#import shared/parameters.wgsl
#import shared/softmax.wgsl
#import shared/exp.wgsl
#import rows/log.wgsl
#import rows/inverse.wgsl
#import shared/load.wgsl TENSOR=x BINDING=1
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.out_columns
#if MASK
#import shared/hidden.wgsl
#end

/// Vectors of a thread that are summed before they are added to what there is.
const RUN_VECTORS: u32 = 16;

/// Scores, before they are multiplied by the scale's magnitude.
struct Scores {
  /// LOWEST where one is not seen; others may be as low.
  four: vec4f,
  seen: vec4<bool>,
  /// NaN, infinity where that is no way to mask, or what a scale of 0 makes NaN of.
  spoiled: bool,
}

/// Where a row lies.
struct Row {
  x: u32,
  mask: u32,
  out: u32,
}

/// Where results go, and what they are made with.
struct Results {
  out: u32,
  spoiled: bool,
  m: f32,
  /// The reciprocal of the sum of powers, or its logarithm.
  by: f32,
}

/// Two numbers of each thread.
var<workgroup> exchange: array<vec2f, THREADS>;

/// Rows are counted over all heads and batches: a workgroup has rows of several where each has few.
fn row_of(index: u32) -> Row {
  let row = index % p.rows;
  let head = index / p.rows % p.heads;
  let batch = index / p.rows / p.heads;
  var mask = 0u;
#if MASK
  mask = p.mask_at + batch * p.mask_batch + head * p.mask_head + row * p.mask_row;
#end
  return Row(at_x(batch, head, row), mask, at_out(batch, head, row));
}

fn scores_at(row: Row, index: u32) -> Scores {
  let four = load_x(row.x, index, p.columns);
  let bits = bitcast<vec4u>(four);
  let columns = 4 * index + vec4u(0, 1, 2, 3);
  var seen = columns < vec4u(p.columns);
#if MASK
  seen &= read_mask(row.mask + columns * p.mask_column);
#end
  let is_finite = (bits & vec4u(0x7f800000)) != vec4u(0x7f800000);
  seen &= is_finite | (bits != vec4u(p.none));
  return Scores(
    select(vec4f(LOWEST), four * p.sign, seen & is_finite),
    seen,
    any(seen & !is_finite),
  );
}

/// Powers of e; 0 of what is not seen.
fn powers(scores: Scores, m: f32) -> vec4f {
  return select(vec4f(0), exp_of((scores.four - m) * p.factor), scores.seen);
}

fn store_results(results: Results, index: u32, scores: Scores, weights: vec4f) {
#if LOG_SOFTMAX
  let four = select(
    vec4f(p.minus_infinity),
    (scores.four - results.m) * p.factor - results.by,
    scores.seen,
  );
#else
  let four = weights * results.by;
#end
  store_out(results.out, index, select(four, vec4f(p.not_a_number), results.spoiled));
}

/// The largest of each number, over the threads of a row.
fn across_max(value: vec2f, lane: u32, own: u32) -> vec2f {
  let at = lane * ROWS + own;
  exchange[at] = value;
  for (var step = LANES / 2; step > 0; step /= 2) {
    workgroupBarrier();
    if (lane < step) {
      exchange[at] = max(exchange[at], exchange[at + step * ROWS]);
    }
  }
  workgroupBarrier();
  return exchange[own];
}

/// Sums over the threads of a row, in pairs.
fn across_sum(value: f32, lane: u32, own: u32) -> f32 {
  let at = lane * ROWS + own;
  // Others may still read what was exchanged before.
  workgroupBarrier();
  exchange[at].x = value;
  for (var step = LANES / 2; step > 0; step /= 2) {
    workgroupBarrier();
    if (lane < step) {
      exchange[at].x += exchange[at + step * ROWS].x;
    }
  }
  workgroupBarrier();
  return exchange[own].x;
}

fn largest(four: vec4f) -> f32 {
  return max(max(four.x, four.y), max(four.z, four.w));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
#if ROWS_FIRST
  let lane = lid / ROWS;
  let own = lid % ROWS;
#else
  let lane = lid % LANES;
  let own = lid / LANES;
#end
  // Threads of rows that are not there go along, since all meet at barriers.
  let index = group.x * ROWS + own;
  let is_there = index < p.all_rows;
  let row = row_of(select(p.all_rows - 1, index, is_there));

  // The maximum.
  var most = vec4f(LOWEST);
  var spoiled = false;
#if HELD
#for i in HELD
  let scores_$i = scores_at(row, lane + $i * LANES);
  most = max(most, scores_$i.four);
  spoiled |= scores_$i.spoiled;
#end
#else
  for (var at = lane; at < p.vectors; at += LANES) {
    let scores = scores_at(row, at);
    most = max(most, scores.four);
    spoiled |= scores.spoiled;
  }
#end
  let both = across_max(vec2f(largest(most), f32(spoiled)), lane, own);
  let m = both.x;
  let is_spoiled = both.y > 0;

  // The sum.
  var sum = vec4f(0);
#if HELD
#for i in HELD
  let weights_$i = powers(scores_$i, m);
  sum += weights_$i;
#end
#else
  var run = vec4f(0);
  for (var at = lane; at < p.vectors; at += LANES) {
    run += powers(scores_at(row, at), m);
    if (at / LANES % RUN_VECTORS == RUN_VECTORS - 1) {
      let next = sum + run;
      run = taken(sum, run, next);
      sum = next;
    }
  }
  sum += run;
#end
  let l = across_sum((sum.x + sum.y) + (sum.z + sum.w), lane, own);

  // The results.
  if (!is_there) {
    return;
  }
#if LOG_SUM_EXP
  if (lane == 0) {
    // Rounding may not make infinity of what is finite.
    let whole = clamp(fma(m, p.factor, log_of(l)), LOWEST, -LOWEST);
    let logarithm = select(whole, p.minus_infinity, l == 0);
    store_out(row.out, 0, vec4f(select(logarithm, p.not_a_number, is_spoiled)));
  }
#else
#if LOG_SOFTMAX
  let results = Results(row.out, is_spoiled, m, select(log_of(l), 0.0, l == 0));
#else
  let results = Results(row.out, is_spoiled, m, inverse_of(l));
#end
#if HELD
#for i in HELD
  store_results(results, lane + $i * LANES, scores_$i, weights_$i);
#end
#else
  for (var at = lane; at < p.vectors; at += LANES) {
    let scores = scores_at(row, at);
#if LOG_SOFTMAX
    store_results(results, at, scores, vec4f(0));
#else
    store_results(results, at, scores, powers(scores, m));
#end
  }
#end
#end
}
