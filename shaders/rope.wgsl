// Rotary position embedding (arXiv 2104.09864), in place: a pair (a, b) of a row becomes (a cos - b sin,
// b cos + a sin). One thread for two pairs; with WORDS, pairs of 16-bit neighbours are whole words.

#import shared/parameters.wgsl
#import shared/place.wgsl TENSOR=rows
/// Cosine and sine of [batch][row][pair].
@group(0) @binding(1) var<storage, read> turns: array<vec2f>;
#if rows_f32
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;

fn load_row(at: u32) -> f32 {
  return rows[at];
}

fn store_row(at: u32, value: f32) {
  rows[at] = value;
}
#else
#import shared/narrow.wgsl TENSOR=rows

fn widen(word: u32, at: u32) -> f32 {
  let bits = (word >> (at % 2 * 16)) & 0xffff;
#if rows_f16
  return unpack2x16float(bits).x;
#else
  return bitcast<f32>(bits << 16);
#end
}
#if WORDS
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;

fn load_row(at: u32) -> f32 {
  return widen(rows[at / 2], at);
}

fn store_two(at: u32, low: f32, high: f32) {
  rows[at / 2] = narrow_rows(low) | (narrow_rows(high) << 16);
}
#else
// Two elements share a word and may belong to different threads.
@group(0) @binding(4) var<storage, read_write> rows: array<atomic<u32>>;

fn load_row(at: u32) -> f32 {
  return widen(atomicLoad(&rows[at / 2]), at);
}

fn store_row(at: u32, value: f32) {
  let shift = at % 2 * 16;
  atomicAnd(&rows[at / 2], ~(0xffffu << shift));
  atomicOr(&rows[at / 2], narrow_rows(value) << shift);
}
#end
#end

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let pairs = p.pairs;
  let threads = (pairs + 1) / 2;
  let row = id.x / threads;
  if (row >= p.end_row) {
    return;
  }
  // The last of an odd number is turned twice, to the same.
  let two = min(id.x % threads * 2 + vec2u(0, 1), vec2u(pairs - 1));
  let at = at_rows(id.z, id.y, row);
#if INTERLEAVED
  let first = at + 2 * two * p.rows_column;
  let second = first + p.rows_column;
#else
  let first = at + two * p.rows_column;
  let second = first + pairs * p.rows_column;
#end
  let a = vec2f(load_row(first.x), load_row(first.y));
  let b = vec2f(load_row(second.x), load_row(second.y));
  let turn = id.z * p.turn_batch + row * pairs + two;
  let cosine = vec2f(turns[turn.x].x, turns[turn.y].x);
  let sine = vec2f(turns[turn.x].y, turns[turn.y].y);
  let c = a * cosine - b * sine;
  let d = b * cosine + a * sine;
#if WORDS
#if INTERLEAVED
  store_two(first.x, c.x, d.x);
  store_two(first.y, c.y, d.y);
#else
  store_two(first.x, c.x, c.y);
  store_two(second.x, d.x, d.y);
#end
#else
  store_row(first.x, c.x);
  store_row(first.y, c.y);
  store_row(second.x, d.x);
  store_row(second.y, d.y);
#end
}
