// Masks: which keys each of the eight queries of a panel sees.
//
// Bands (causal, window, key lengths) are bounds, two numbers per query: keys first <= j < end. All
// other masks are lanes: a byte per key, whose bit r says whether query r sees it.

// Bytes that readers may touch behind the last key of `lanes`.
export const LANES_SLACK: usize = 32;

// The lanes of a vector that a byte's low four bits name, as all ones.

// @ts-ignore: decorator
@inline
function expand(lanes: i32, bits: v128): v128 {
  return i32x4.eq(v128.and(i32x4.splat(lanes), bits), bits);
}

// The queries 0..3, and 4..7, that see a key, as all ones.

// @ts-ignore: decorator
@inline
export function seenLow(lanes: usize, key: usize): v128 {
  return expand(<i32>load<u8>(lanes + key), i32x4(1, 2, 4, 8));
}

// @ts-ignore: decorator
@inline
export function seenHigh(lanes: usize, key: usize): v128 {
  return expand(<i32>load<u8>(lanes + key), i32x4(16, 32, 64, 128));
}

// Whether one query sees a key.

// @ts-ignore: decorator
@inline
export function isSeen(lanes: usize, key: usize, query: usize): bool {
  return ((<usize>load<u8>(lanes + key) >> query) & 1) != 0;
}

// All queries see all of `count` keys.
export function seeAll(lanes: usize, count: usize): void {
  memory.fill(lanes, 0xff, count);
}

// Of the keys from..to, queries see those within their bounds; byte 0 of `lanes` is key `from`.
export function seeWithin(lanes: usize, bounds: usize, from: i32, to: i32): void {
  const first0 = v128.load(bounds), first1 = v128.load(bounds, 16);
  const end0 = v128.load(bounds, 32), end1 = v128.load(bounds, 48);
  for (let key = from; key < to; key++) {
    const j = i32x4.splat(key);
    const low = i32x4.bitmask(v128.and(i32x4.le_s(first0, j), i32x4.gt_s(end0, j)));
    const high = i32x4.bitmask(v128.and(i32x4.le_s(first1, j), i32x4.gt_s(end1, j)));
    store<u8>(lanes, load<u8>(lanes) & <u8>(low | (high << 4)));
    lanes++;
  }
}

// Of `count` keys from `byte` on, queries see those whose byte is not 0; rows[8] are the addresses of
// their rows.
export function seeBytes(lanes: usize, rows: usize, byte: usize, count: usize): void {
  for (let at: usize = 0; at < count; at += 16) {
    let seen = i8x16.splat(0);
    for (let row = 0, flag = 1; row < 8; row++, flag <<= 1) {
      const x = v128.load(<usize>load<u32>(rows + (row << 2)) + byte + at);
      const isSeen = i8x16.ne(x, i8x16.splat(0));
      seen = v128.or(seen, v128.and(isSeen, i8x16.splat(<i8>flag)));
    }
    v128.store(lanes + at, v128.and(v128.load(lanes + at), seen));
  }
}

// The same by bits, the lowest of each byte first, from bit `bit` of each row on.
export function seeBits(lanes: usize, rows: usize, bit: usize, count: usize): void {
  const each = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  for (let at: usize = 0; at < count; at += 16) {
    const byte = (bit + at) >> 3, shift = <u32>(bit + at) & 7;
    let seen = i8x16.splat(0);
    for (let row = 0, flag = 1; row < 8; row++, flag <<= 1) {
      const word = load<u32>(<usize>load<u32>(rows + (row << 2)) + byte) >> shift;
      const two = i16x8.splat(<i16>word);
      // Eight times the low byte, eight times the high one.
      const x = i8x16.shuffle(two, two, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
      const isSeen = i8x16.eq(v128.and(x, each), each);
      seen = v128.or(seen, v128.and(isSeen, i8x16.splat(<i8>flag)));
    }
    v128.store(lanes + at, v128.and(v128.load(lanes + at), seen));
  }
}

// Of the keys from..to, queries see those whose bias is not -inf; byte 0 of `lanes` is key `from`.
export function seeFinite(lanes: usize, rows: usize, from: usize, to: usize): void {
  for (let key = from; key < to; key++) {
    let seen = 0;
    for (let row = 0; row < 8; row++) {
      const bias = load<f32>(<usize>load<u32>(rows + (row << 2)) + (key << 2));
      seen |= i32(bias != -Infinity) << row;
    }
    store<u8>(lanes, load<u8>(lanes) & <u8>seen);
    lanes++;
  }
}

// Whether some score, s[count][8], is -inf.
export function hasMasked(s: usize, count: usize): bool {
  const masked = f32x4.splat(-Infinity);
  let some = f32x4.splat(0);
  for (const end = s + (count << 5); s < end; s += 32) {
    some = v128.or(some, v128.or(f32x4.eq(v128.load(s), masked), f32x4.eq(v128.load(s, 16), masked)));
  }
  return v128.any_true(some);
}

// Of `count` keys, queries see those whose score, s[keys][8], is not -inf.
export function seeScores(lanes: usize, s: usize, count: usize): void {
  const masked = f32x4.splat(-Infinity);
  for (const end = lanes + count; lanes < end; lanes++, s += 32) {
    const low = i32x4.bitmask(f32x4.ne(v128.load(s), masked)), high = i32x4.bitmask(f32x4.ne(v128.load(s, 16), masked));
    store<u8>(lanes, load<u8>(lanes) & <u8>(low | (high << 4)));
  }
}

// Classes of a tile.
export const SKIP: i32 = 0;
export const MIXED: i32 = 1;
export const WHOLE: i32 = 2;

// 16 times all ones, then zeros: from byte 16 - n on, n bytes to be looked at.
const KEEP: usize = memory.data<u8>([
  255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
], 16);

// Whether no query sees any of `count` keys, or all see all of them.
export function classOf(lanes: usize, count: usize): i32 {
  let any = i8x16.splat(0), all = i8x16.splat(-1);
  for (let at: usize = 0; at < count; at += 16) {
    const keep = v128.load(KEEP + 16 - min<usize>(16, count - at)), x = v128.load(lanes + at);
    any = v128.or(any, v128.and(x, keep));
    all = v128.and(all, v128.or(x, v128.not(keep)));
  }
  if (!v128.any_true(any)) return SKIP;
  return i8x16.all_true(i8x16.eq(all, i8x16.splat(-1))) ? WHOLE : MIXED;
}

// Scores, or weights, of `count` keys become `value` where a query does not see the key.
export function setUnseen(scores: usize, lanes: usize, count: usize, value: f32): void {
  const masked = f32x4.splat(value);
  for (let key: usize = 0; key < count; key++) {
    v128.store(scores, v128.bitselect(v128.load(scores), masked, seenLow(lanes, key)));
    v128.store(scores, v128.bitselect(v128.load(scores, 16), masked, seenHigh(lanes, key)), 16);
    scores += 32;
  }
}

// Scores become -inf where a query does not see the key.
export function maskScores(scores: usize, lanes: usize, count: usize): void {
  setUnseen(scores, lanes, count, -Infinity);
}
