// Norms of whole rows, of x or of x + y. LANES threads have a row, and a workgroup ROWS of them. Of a row of at most HELD
// vectors a thread numbers stay in registers; longer ones (HELD is 0) are read once for each step. The mean is taken off
// before squares are summed, and what rounding left of it after that: a row loses nothing on whatever level it is.

#import shared/parameters.wgsl
#import nn/input.wgsl TENSOR=x BINDING=1
#if Y
#import nn/input.wgsl TENSOR=y BINDING=2
#import shared/store.wgsl TENSOR=added BINDING=5 COLUMNS=p.columns
#end
#import shared/store.wgsl TENSOR=out BINDING=4 COLUMNS=p.columns
#if GAIN
#import shared/load.wgsl TENSOR=gain BINDING=6
#end
#if BASE
#import shared/load.wgsl TENSOR=base BINDING=7
#end

/// What the numbers of a row become.
struct Norm {
  mean: f32,
  rest: f32,
  by: f32,
}

/// Two numbers of each thread.
var<workgroup> exchange: array<vec2f, THREADS>;

fn read_four(row: u32, index: u32) -> vec4f {
  var four = load_x(at_x(0, 0, row), index, p.columns);
#if Y
  four += load_y(at_y(0, 0, row), index, p.columns);
#end
  return four;
}

/// Less the mean; 0 of what is behind the row.
fn less_mean(four: vec4f, index: u32, mean: f32) -> vec4f {
  return select(vec4f(0), four - mean, 4 * index + vec4u(0, 1, 2, 3) < vec4u(p.columns));
}

fn sum_of(four: vec4f) -> f32 {
  return (four.x + four.y) + (four.z + four.w);
}

/// Sums over the threads of a row, in pairs.
fn across_lanes(value: vec2f, lane: u32, own: u32) -> vec2f {
  let at = lane * ROWS + own;
  // Others may still read what was exchanged before.
  workgroupBarrier();
  exchange[at] = value;
  for (var step = LANES / 2; step > 0; step /= 2) {
    workgroupBarrier();
    if (lane < step) {
      exchange[at] += exchange[at + step * ROWS];
    }
  }
  workgroupBarrier();
  return exchange[own];
}

fn store_four(row: u32, index: u32, four: vec4f, norm: Norm) {
#if Y
  store_added(at_added(0, 0, row), index, four);
#end
  var gain = vec4f(1);
#if GAIN
  gain = load_gain(p.gain_at, index, p.columns);
#end
  var base = vec4f(0);
#if BASE
  base = load_base(p.base_at, index, p.columns);
#end
  let unit = ((four - norm.mean) - norm.rest) * norm.by;
  store_out(at_out(0, 0, row), index, fma(unit, gain + p.offset, base));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let own = lid / LANES;
  // Threads of rows that are not there go along, since all meet at barriers.
  let index = group.x * ROWS + own;
  let is_there = index < p.rows;
  let row = select(p.rows - 1, index, is_there);
  let count = f32(p.columns);
#if HELD
#for i in HELD
  let four_$i = read_four(row, lane + $i * LANES);
#end
#end

  var norm = Norm(0, 0, 0);
#if CENTRED
  var total = 0.0;
#if HELD
#for i in HELD
  total += sum_of(four_$i);
#end
#else
  for (var at = lane; at < p.vectors; at += LANES) {
    total += sum_of(read_four(row, at));
  }
#end
  norm.mean = across_lanes(vec2f(total, 0), lane, own).x / count;
#end

  var both = vec2f(0);
#if HELD
#for i in HELD
  {
    let less = less_mean(four_$i, lane + $i * LANES, norm.mean);
    both += vec2f(sum_of(less), dot(less, less));
  }
#end
#else
  for (var at = lane; at < p.vectors; at += LANES) {
    let less = less_mean(read_four(row, at), at, norm.mean);
    both += vec2f(sum_of(less), dot(less, less));
  }
#end
  both = across_lanes(both, lane, own) / count;
#if CENTRED
  norm.rest = both.x;
  let square = max(fma(-both.x, both.x, both.y), 0) + p.eps;
#else
  let square = both.y + p.eps;
#end
  let near = inverseSqrt(square);
  norm.by = near * fma(-0.5 * square * near, near, 1.5);

  if (!is_there) {
    return;
  }
#if HELD
#for i in HELD
  store_four(row, lane + $i * LANES, four_$i, norm);
#end
#else
  for (var at = lane; at < p.vectors; at += LANES) {
    store_four(row, at, read_four(row, at), norm);
  }
#end
}
