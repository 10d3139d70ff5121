// Storage: how four elements are read as f32 and written. Products and sums are always f32; f16 and
// bf16 are only ways to keep a number.
//
// A storage is a type parameter: f32, and two integers of 16 bits that stand for the others.

export type f16 = i16; // IEEE binary16
export type bf16 = u16; // the upper half of an f32
export type finiteF16 = i8; // f16 among which there is no infinity and no NaN

// The numbers that stand for them in job records.
export const F32: i32 = 0;
export const F16: i32 = 1;
export const BF16: i32 = 2;

// f16 to f32, bits in the lower halves of four lanes. Exponent and mantissa are put in the place
// that f32 has them; the exponents' biases differ by 112, and multiplying by 2^112 makes that up for
// numbers below the normal ones too. What was infinite or NaN comes out as 2^16 or more, where the
// exponent's bits are all set.

// Constants come from a table: V8 rebuilds a constant vector at each use (see tools/exponential.ts),
// which took longer than the arithmetic.
const F16_TABLE: usize = memory.data<u32>([
  0x8fffe000, 0x8fffe000, 0x8fffe000, 0x8fffe000, // sign, exponent and mantissa
  0x77800000, 0x77800000, 0x77800000, 0x77800000, // 2^112
  0x47800000, 0x47800000, 0x47800000, 0x47800000, // 2^16
  0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000, // all bits of an exponent
], 16);

// Bits are extended by their sign, which thereby comes to its place too.

// @ts-ignore: decorator
@inline
function decodeF16(bits: v128): v128 {
  const shifted = v128.and(i32x4.shl(bits, 13), v128.load(F16_TABLE));
  const scaled = f32x4.mul(shifted, v128.load(F16_TABLE, 16));
  const isSpecial = f32x4.ge(f32x4.abs(scaled), v128.load(F16_TABLE, 32));
  return v128.or(scaled, v128.and(isSpecial, v128.load(F16_TABLE, 48)));
}

// f32 to f16, to nearest, ties to even; the bits end up in the lower halves of four lanes.

// @ts-ignore: decorator
@inline
function encodeF16(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(<i32>0x80000000));
  const bits = v128.xor(x, sign);
  // Normal: shift the bias, round at bit 13. A tie goes to the even neighbour.
  const odd = v128.and(i32x4.shr_u(bits, 13), i32x4.splat(1));
  const rounding = i32x4.add(i32x4.splat(((15 - 127) << 23) + 0xfff), odd);
  const normal = i32x4.shr_u(i32x4.add(bits, rounding), 13);
  // Below 2^-14: adding 2^-1 lets the hardware round at the place that f16 has its last bit.
  const magic = i32x4.splat(126 << 23);
  const tiny = i32x4.sub(f32x4.add(bits, magic), magic);
  // From 2^16 on: infinite, and NaN stays NaN.
  const nan = v128.and(f32x4.ne(x, x), i32x4.splat(0x200));
  const special = v128.or(i32x4.splat(0x7c00), nan);
  let result = v128.bitselect(tiny, normal, i32x4.lt_s(bits, i32x4.splat(113 << 23)));
  result = v128.bitselect(special, result, i32x4.ge_s(bits, i32x4.splat(143 << 23)));
  return v128.or(result, i32x4.shr_u(sign, 16));
}

// f32 to bf16, to nearest, ties to even; NaN stays a quiet NaN.

// @ts-ignore: decorator
@inline
function encodeBF16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(x, i32x4.add(i32x4.splat(0x7fff), odd)), 16);
  const nan = v128.or(i32x4.shr_u(x, 16), i32x4.splat(0x40));
  return v128.bitselect(nan, rounded, f32x4.ne(x, x));
}

// Four neighbouring elements as f32.

// @ts-ignore: decorator
@inline
export function loadFour<T>(at: usize): v128 {
  if (isFloat<T>()) return v128.load(at);
  if (isSigned<T>()) return decodeF16(v128.load_ext<i16>(at));
  return i32x4.shl(v128.load_ext<u16>(at), 16);
}

// Bytes of an element.

// @ts-ignore: decorator
@inline
export function bytesOf<T>(): usize {
  return sizeof<T>() == 1 ? 2 : sizeof<T>();
}

// Four neighbouring elements as f32; finite ones in three steps less.

// @ts-ignore: decorator
@inline
export function readFour<T>(at: usize): v128 {
  if (sizeof<T>() != 1) return loadFour<T>(at);
  return f32x4.mul(v128.and(i32x4.shl(v128.load_ext<i16>(at), 13), v128.load(F16_TABLE)), v128.load(F16_TABLE, 16));
}

// What f16 is short of where its bits are put where f32 has them: powers of two that come out of a sum
// once instead of going into each of its terms.
export const F16_BIAS: f32 = 5.192296858534828e33; // 2^112

// The bits that count once they are there.

// @ts-ignore: decorator
@inline
export function maskOf<T>(): v128 {
  return isSigned<T>() ? v128.load(F16_TABLE) : i32x4.splat(<i32>0xffff0000);
}

// Every second of eight bf16 or finite f16, from the first or from the second on, as f32; of f16 minus
// its bias.

// @ts-ignore: decorator
@inline
export function evenOf<T>(x: v128, mask: v128): v128 {
  const upper = i32x4.shl(x, 16);
  return isSigned<T>() ? v128.and(i32x4.shr_s(upper, 3), mask) : upper;
}

// @ts-ignore: decorator
@inline
export function oddOf<T>(x: v128, mask: v128): v128 {
  return v128.and(isSigned<T>() ? i32x4.shr_s(x, 3) : x, mask);
}

// One element as f32.

// @ts-ignore: decorator
@inline
export function loadOne<T>(at: usize): f32 {
  if (isFloat<T>()) return load<f32>(at);
  if (isSigned<T>()) return f32x4.extract_lane(decodeF16(i32x4.splat(<i32>load<i16>(at))), 0);
  return reinterpret<f32>(<u32>load<u16>(at) << 16);
}

// The same by the number that stands for a storage.

// @ts-ignore: decorator
@inline
export function loadStored(storage: i32, at: usize): f32 {
  if (storage == F16) return loadOne<f16>(at);
  return storage == BF16 ? loadOne<bf16>(at) : load<f32>(at);
}

// f32 as four lanes whose lower halves hold the element's bits.

// @ts-ignore: decorator
@inline
function encode<T>(x: v128): v128 {
  return isSigned<T>() ? encodeF16(x) : encodeBF16(x);
}

// Writes one element.

// @ts-ignore: decorator
@inline
export function storeOne<T>(at: usize, x: f32): void {
  if (isFloat<T>()) store<f32>(at, x);
  else store<u16>(at, <u16>i32x4.extract_lane(encode<T>(f32x4.splat(x)), 0));
}

// Writes four f32 as neighbouring elements.

// @ts-ignore: decorator
@inline
export function storeFour<T>(at: usize, x: v128): void {
  if (isFloat<T>()) {
    v128.store(at, x);
  } else {
    const bits = encode<T>(x);
    v128.store_lane<u64>(at, i16x8.narrow_i32x4_u(bits, bits), 0);
  }
}

// The largest magnitude of `count` f32, `step` bytes apart.
export function magnitudeOf(x: usize, step: usize, count: usize): f32 {
  let largest: f32 = 0;
  for (; count > 0; count--, x += step) largest = max(largest, abs(f32.load(x)));
  return largest;
}
