// Layouts: how rows become the panels that the micro-kernels read, and how a panel of results
// becomes rows again. Four rows at a time, turned by 4x4 transposes.

export const PANEL: usize = 8; // queries side by side: two vectors

// A 4x4 transpose: column i of the rows a, b, c, d. Two rounds of shuffles; the first is shared, so
// that binaryen merges what four calls have in common.

// @ts-ignore: decorator
@inline
function low(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 4, 1, 5);
}

// @ts-ignore: decorator
@inline
function high(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 6, 3, 7);
}

// @ts-ignore: decorator
@inline
function firstHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 1, 4, 5);
}

// @ts-ignore: decorator
@inline
function secondHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 3, 6, 7);
}

// Four rows of `depth` elements, `element` bytes apart, become target[depth][4] times `factor`,
// `step` bytes from one depth to the next.
export function packFour(
  row0: usize, row1: usize, row2: usize, row3: usize,
  element: usize, target: usize, step: usize, depth: usize, factor: f32,
): void {
  let at: usize = 0;
  if (element == 4) {
    const scale = f32x4.splat(factor);
    for (const whole = depth & ~3; at < whole; at += 4) {
      const byte = at << 2;
      const a = f32x4.mul(scale, v128.load(row0 + byte));
      const b = f32x4.mul(scale, v128.load(row1 + byte));
      const c = f32x4.mul(scale, v128.load(row2 + byte));
      const d = f32x4.mul(scale, v128.load(row3 + byte));
      const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
      v128.store(target, firstHalves(ab, cd));
      v128.store(target + step, secondHalves(ab, cd));
      v128.store(target + 2 * step, firstHalves(AB, CD));
      v128.store(target + 3 * step, secondHalves(AB, CD));
      target += 4 * step;
    }
  }
  for (; at < depth; at++) {
    const byte = at * element;
    store<f32>(target, factor * load<f32>(row0 + byte));
    store<f32>(target, factor * load<f32>(row1 + byte), 4);
    store<f32>(target, factor * load<f32>(row2 + byte), 8);
    store<f32>(target, factor * load<f32>(row3 + byte), 12);
    target += step;
  }
}

// The way back: source[width][4], `step` bytes from one to the next, times four factors, becomes
// the first `count` of four rows.
export function unpackFour(
  source: usize, step: usize, factors: v128, width: usize,
  row0: usize, row1: usize, row2: usize, row3: usize, element: usize, count: usize,
): void {
  let at: usize = 0;
  if (element == 4) {
    for (const whole = width & ~3; at < whole; at += 4) {
      const a = f32x4.mul(factors, v128.load(source));
      const b = f32x4.mul(factors, v128.load(source + step));
      const c = f32x4.mul(factors, v128.load(source + 2 * step));
      const d = f32x4.mul(factors, v128.load(source + 3 * step));
      const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
      const byte = at << 2;
      v128.store(row0 + byte, firstHalves(ab, cd));
      if (count > 1) v128.store(row1 + byte, secondHalves(ab, cd));
      if (count > 2) v128.store(row2 + byte, firstHalves(AB, CD));
      if (count > 3) v128.store(row3 + byte, secondHalves(AB, CD));
      source += 4 * step;
    }
  }
  for (; at < width; at++) {
    const a = f32x4.mul(factors, v128.load(source));
    const byte = at * element;
    store<f32>(row0 + byte, f32x4.extract_lane(a, 0));
    if (count > 1) store<f32>(row1 + byte, f32x4.extract_lane(a, 1));
    if (count > 2) store<f32>(row2 + byte, f32x4.extract_lane(a, 2));
    if (count > 3) store<f32>(row3 + byte, f32x4.extract_lane(a, 3));
    source += step;
  }
}

// Keys become panels [ceil(count / 4)][dim][4]. A last panel that is not full repeats its last key:
// its scores are masked later.
export function packKeys(
  source: usize, row: usize, element: usize, target: usize, dim: usize, count: usize,
): void {
  for (let key: usize = 0; key < count; key += 4) {
    const last = count - 1;
    packFour(
      source + key * row,
      source + min(key + 1, last) * row,
      source + min(key + 2, last) * row,
      source + min(key + 3, last) * row,
      element, target, 16, dim, 1,
    );
    target += dim << 4;
  }
}

// Values become columns [ceil(dim / 4)][keys][4], `columns` bytes from one group of four to the
// next; what lies beyond `dim` is 0.
export function packValues(
  source: usize, row: usize, element: usize, target: usize, columns: usize, dim: usize, count: usize,
): void {
  const whole = element == 4 ? dim & ~3 : 0;
  for (let key: usize = 0; key < count; key++) {
    let to = target + (key << 4);
    let column: usize = 0;
    for (; column < whole; column += 4) {
      v128.store(to, v128.load(source + (column << 2)));
      to += columns;
    }
    for (; column < dim; column += 4) {
      v128.store(to, f32x4.splat(0));
      for (let lane: usize = 0; lane < min<usize>(4, dim - column); lane++) {
        store<f32>(to + (lane << 2), load<f32>(source + (column + lane) * element));
      }
      to += columns;
    }
    source += row;
  }
}
