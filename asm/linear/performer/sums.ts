// Sums over keys, of each feature: m, the exponent that all others are less, to base 4 and a whole number, so that
// factors are exact; z, the sum of the features; and S[columns], of the features times values. With a maximum for each
// feature a key that is far below others in one of them loses nothing in the others, and no query is left without keys.

import { exp4 } from "../../exp.gen";
import { storeTransposed } from "../../layout";
import { finiteMaximum } from "../../softmax";
import { Work } from "./work";

// m[features], z[features], S[features / 8][columns][8].

// @ts-ignore: decorator
@inline
export function sumsBytes(features: usize, columns: usize): usize {
  return features * (columns + 2) << 2;
}

// @ts-ignore: decorator
@inline
export function zOf(sums: usize, work: Work): usize {
  return sums + (work.features << 2);
}

// @ts-ignore: decorator
@inline
export function valuesOf(sums: usize, work: Work): usize {
  return sums + (work.features << 3);
}

// What was summed before comes to what is summed from now on.

// @ts-ignore: decorator
@inline
export function factorOf(before: v128, now: v128): v128 {
  return exp4(f32x4.sub(before, finiteMaximum(now)));
}

// Nothing summed: `origin` is minus infinity, or the greatest number of features that there are not.
export function clearSums(sums: usize, origin: usize, work: Work): void {
  const bytes = work.features << 2, end = sums + sumsBytes(work.features, work.columns);
  for (let at: usize = 0; at < bytes; at += 16) v128.store(sums + at, v128.load(origin + at));
  for (let at = sums + bytes; at < end; at += 16) v128.store(at, f32x4.splat(0));
}

// x * by + y, with what rounding takes from it beside (Kahan): `rest` is what x lacks.

// @ts-ignore: decorator
@inline
function addExactly(x: usize, rest: usize, by: v128, y: v128): void {
  const before = f32x4.mul(v128.load(x), by), more = f32x4.add(f32x4.mul(v128.load(rest), by), y);
  const sum = f32x4.add(before, more);
  v128.store(x, sum);
  v128.store(rest, f32x4.sub(more, f32x4.sub(sum, before)));
}

// Adds the sums of a part to those before it, whose rests are those of z and S.
export function addSums(sums: usize, rests: usize, part: usize, work: Work): void {
  const features = work.features, bytes = work.columns << 5, z = zOf(sums, work), partZ = zOf(part, work);
  let s = valuesOf(sums, work), from = valuesOf(part, work), rest = rests + (features << 2);
  for (let f: usize = 0; f < features << 2; f += 32) {
    for (let lanes = f; lanes < f + 32; lanes += 16) {
      const before = v128.load(sums + lanes), ofPart = v128.load(part + lanes), now = f32x4.pmax(before, ofPart);
      const by = factorOf(before, now), partBy = factorOf(ofPart, now), first = lanes - f;
      v128.store(sums + lanes, now);
      addExactly(z + lanes, rests + lanes, by, f32x4.mul(v128.load(partZ + lanes), partBy));
      for (let at = first; at < bytes; at += 32) {
        addExactly(s + at, rest + at, by, f32x4.mul(v128.load(from + at), partBy));
      }
    }
    s += bytes;
    from += bytes;
    rest += bytes;
  }
}

// One vector of sums and one of a part after them.

// @ts-ignore: decorator
@inline
function joined(sums: usize, by: v128, part: usize, partBy: v128): v128 {
  const x = f32x4.mul(by, v128.load(sums));
  return part == 0 ? x : f32x4.add(x, f32x4.mul(partBy, v128.load(part)));
}

// Eight features of sums, and of those of a part after them if there is one, as queries see them: each times its factor,
// with columns side by side.
export function joinSums(sums: usize, part: usize, feature: usize, work: Work): void {
  const columns = work.columns, step = work.features << 4, byte = feature << 2;
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    const by = v128.load(work.beforeFactor + lanes), partBy = v128.load(work.localFactor + lanes);
    const next: usize = part == 0 ? 0 : 32, ofZ = zOf(sums, work) + byte + lanes;
    v128.store(work.turnedZ + byte + lanes, joined(ofZ, by, part == 0 ? 0 : ofZ - sums + part, partBy));
    let a: usize = valuesOf(sums, work) + byte * columns + lanes, b: usize = part == 0 ? 0 : a - sums + part;
    let to = work.turned + (byte << 2) + (lanes << 2);
    for (let column: usize = 0; column < columns; column += 4, a += 128, b += next << 2, to += step) {
      const x = joined(a, by, b, partBy), y = joined(a + 32, by, b + next, partBy);
      const z = joined(a + 64, by, b + (next << 1), partBy), w = joined(a + 96, by, b + next * 3, partBy);
      storeTransposed(to, 16, x, y, z, w);
    }
  }
}

// The same without turning columns: S[columns][8] to `to`.
export function joinPlain(sums: usize, part: usize, feature: usize, work: Work, to: usize): void {
  const bytes = work.columns << 5, first = valuesOf(sums, work) + feature * (work.columns << 2);
  for (let lanes: usize = 0; lanes < 32; lanes += 16) {
    const by = v128.load(work.beforeFactor + lanes), partBy = v128.load(work.localFactor + lanes);
    for (let at = lanes; at < bytes; at += 32) {
      const s = first + at;
      v128.store(to + at, joined(s, by, part == 0 ? 0 : s - sums + part, partBy));
    }
  }
}
