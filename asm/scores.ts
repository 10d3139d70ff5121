// What is done to scores s[keys][8] of a panel before they are masked: softcap, bias, ALiBi.
//
// Scores are logarithms to base 2^unit, and what is added to them comes with a factor that makes it so. It is
// below 1: a finite bias stays finite. People mask with the lowest number, and a row that sees nothing else weighs
// all keys alike. Rows of a bias are read as they lie, four keys of eight rows at a time, and
// transposed 4x4: its addresses stand at `rows`, one for each query of the panel.

import { fma } from "./fma";
import { firstHalves, high, low, secondHalves } from "./layout";

// s + factor * bias of four queries.

// @ts-ignore: decorator
@inline
function biased(s: v128, bias: v128, factor: f32): v128 {
  return f32x4.add(s, f32x4.mul(bias, f32x4.splat(factor)));
}

// Four keys from `key` on of the rows at rows[from..from + 4], as column `column` of 4.

// @ts-ignore: decorator
@inline
function addFour(s: usize, rows: usize, byte: usize, factor: f32): v128 {
  const a = v128.load(<usize>load<u32>(rows) + byte), b = v128.load(<usize>load<u32>(rows, 4) + byte);
  const c = v128.load(<usize>load<u32>(rows, 8) + byte), d = v128.load(<usize>load<u32>(rows, 12) + byte);
  const masked = f32x4.splat(-Infinity);
  const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
  v128.store(s, biased(v128.load(s), firstHalves(ab, cd), factor));
  v128.store(s, biased(v128.load(s, 32), secondHalves(ab, cd), factor), 32);
  v128.store(s, biased(v128.load(s, 64), firstHalves(AB, CD), factor), 64);
  v128.store(s, biased(v128.load(s, 96), secondHalves(AB, CD), factor), 96);
  return v128.or(
    v128.or(f32x4.eq(a, masked), f32x4.eq(b, masked)),
    v128.or(f32x4.eq(c, masked), f32x4.eq(d, masked)),
  );
}

// s += factor * bias for the keys from..to, both multiples of 4 or, `to`, rounded up to one by the
// caller. Returns whether some bias is -inf.
export function addBias(s: usize, rows: usize, from: usize, to: usize, factor: f32): bool {
  let masks = f32x4.splat(0);
  for (let key = from; key < to; key += 4) {
    masks = v128.or(masks, addFour(s, rows, key << 2, factor));
    masks = v128.or(masks, addFour(s + 16, rows + 16, key << 2, factor));
    s += 128;
  }
  return v128.any_true(masks);
}

// s -= slope * |aligned - key|, the slope of each query with its factor in it. Positions are f32: exact
// up to 2^24, and as near as distances of that size matter beyond.
export function subtractDistances(s: usize, slopes: usize, aligned: usize, from: i32, to: i32): void {
  const slope0 = f32x4.neg(v128.load(slopes)), slope1 = f32x4.neg(v128.load(slopes, 16));
  const aligned0 = v128.load(aligned), aligned1 = v128.load(aligned, 16);
  for (let key = from; key < to; key++) {
    const j = f32x4.splat(<f32>key);
    v128.store(s, fma(slope0, f32x4.abs(f32x4.sub(aligned0, j)), v128.load(s)));
    v128.store(s, fma(slope1, f32x4.abs(f32x4.sub(aligned1, j)), v128.load(s, 16)), 16);
    s += 32;
  }
}
