// One instruction of 128-bit SIMD, to see whether this engine has it.

export function lane(x: i32): i32 {
  return i32x4.extract_lane(i32x4.add(i32x4.splat(x), i32x4(1, 2, 3, 4)), 2);
}
