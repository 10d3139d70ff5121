// Many products of bytes, in both forms, to see which takes this processor less time. A small module of its own, without memory.

// Six sums, as many as hide how long one product takes; numbers that no compiler knows.

// @ts-ignore: decorator
@inline
function sumsOf(count: i32, isFused: bool): i32 {
  let a = i32x4.splat(count);
  // No constant, which V8 would make anew at every use: kernels load theirs.
  const ones = i16x8.splat(<i16>min(count, 1));
  const step = i32x4.splat(0x01030507), b = v128.and(a, i8x16.splat(1));
  const b0 = i8x16.add(b, i8x16.splat(2)), b1 = i8x16.add(b, i8x16.splat(3)), b2 = i8x16.add(b, i8x16.splat(5));
  const b3 = i8x16.add(b, i8x16.splat(7)), b4 = i8x16.add(b, i8x16.splat(11)), b5 = i8x16.add(b, i8x16.splat(13));
  let c0 = i32x4.splat(0), c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0;
  for (; count > 0; count--) {
    a = i32x4.add(a, step);
    c0 = add(a, b0, c0, ones, isFused);
    c1 = add(a, b1, c1, ones, isFused);
    c2 = add(a, b2, c2, ones, isFused);
    c3 = add(a, b3, c3, ones, isFused);
    c4 = add(a, b4, c4, ones, isFused);
    c5 = add(a, b5, c5, ones, isFused);
  }
  return i32x4.extract_lane(i32x4.add(i32x4.add(c0, i32x4.add(c1, c2)), i32x4.add(c3, i32x4.add(c4, c5))), 0);
}

// @ts-ignore: decorator
@inline
function add(a: v128, b: v128, c: v128, ones: v128, isFused: bool): v128 {
  if (isFused) return i32x4.relaxed_dot_i8x16_i7x16_add_s(a, b, c);
  return i32x4.add(c, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(a, b), ones));
}

export function fused(count: i32): i32 {
  return sumsOf(count, true);
}

export function pairs(count: i32): i32 {
  return sumsOf(count, false);
}
