// Pages of a cache: where a head's keys and values of some tokens are, how new ones are written, and how
// a tile of them becomes f32.
//
// A block holds `pageKeys` tokens, a multiple of 16. Keys lie as [tokens / 4][dim][4], values as
// [columns / 4][tokens][4], so that a block of f32 is read as packed heads are; integers as
// asm/quantized.ts says, with the scales of keys and those of values behind them, [groups][tokens] each.
// Behind f16 stands whether there is an infinity or a NaN among them.

import { GROUP, loadNibble, nibbles, nibbleScale, SMALLEST, storeNibble, toNibble } from "./quantized";
import {
  BF16, brain, F16, F32, half, loadFour, loadOne, magnitudeOf, storeOne as storeElement,
} from "./storage";

export const INT8: i32 = 3;
export const INT4: i32 = 4;

// Largest number that a byte holds.
const MOST: f32 = 127;

// @ts-ignore: decorator
@inline
function columnsOf(valueDim: usize): usize {
  return (valueDim + 3) & ~3;
}

// Bytes of four elements.

// @ts-ignore: decorator
@inline
export function bytesOfFour(storage: i32): usize {
  return storage == INT4 ? 2 : storage == INT8 ? 4 : storage == F32 ? 16 : 8;
}

// Elements that a key of `dim` takes: eight bits are multiplied eight at a time, and eight numbers of four
// bits share a lane.

// @ts-ignore: decorator
@inline
export function depthOf(storage: i32, dim: usize): usize {
  return storage == INT4 || storage == INT8 ? (dim + 7) & ~7 : dim;
}

// Scales of a token's key or value.

// @ts-ignore: decorator
@inline
export function scalesOf(storage: i32, dim: usize): usize {
  return storage == INT4 ? (dim + GROUP - 1) / GROUP : 1;
}

// Four numbers side by side become f32.
function widenFour<T>(source: usize, target: usize, count: usize): void {
  for (const end = target + (count << 2); target < end; target += 16, source += 4 * sizeof<T>()) {
    v128.store(target, loadFour<T>(source));
  }
}

// A tile of keys [groups][dim][4] and of values [columns / 4][keys][4], `stride` bytes from one group of
// columns to the next, becomes f32.
function widenTileOf<T>(
  k: usize, v: usize, stride: usize, dim: usize, columns: usize, keys: usize, wideK: usize, wideV: usize,
): void {
  widenFour<T>(k, wideK, keys * dim);
  for (let column: usize = 0; column < columns; column += 4) {
    widenFour<T>(v, wideV, keys << 2);
    v += stride;
    wideV += keys << 4;
  }
}

// Eight bytes are four pairs: the first of each, and the second, as f32.

// @ts-ignore: decorator
@inline
function firstOf(pairs: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(pairs, 16), 16));
}

// @ts-ignore: decorator
@inline
function secondOf(pairs: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(pairs, 16));
}

function widenTileOfBytes(
  k: usize, v: usize, stride: usize, dim: usize, columns: usize, keys: usize,
  kScales: usize, vScales: usize, wideK: usize, wideV: usize,
): void {
  const pairs = depthOf(INT8, dim) >> 1;
  for (let group: usize = 0; group < keys; group += 4, kScales += 16) {
    const scales = v128.load(kScales);
    for (let pair: usize = 0; pair < pairs; pair++, k += 8) {
      if ((pair << 1) >= dim) continue;
      const x = v128.load_ext<i8>(k);
      v128.store(wideK, f32x4.mul(firstOf(x), scales));
      wideK += 16;
      if ((pair << 1) + 1 >= dim) continue;
      v128.store(wideK, f32x4.mul(secondOf(x), scales));
      wideK += 16;
    }
  }
  for (let column: usize = 0; column < columns; column += 4, v += stride) {
    for (let key: usize = 0, at = v; key < keys; key += 2, at += 8, wideV += 32) {
      const x = v128.load_ext<i8>(at), scale = vScales + (key << 2);
      v128.store(wideV, f32x4.mul(firstOf(x), v128.load_splat<f32>(scale)));
      v128.store(wideV, f32x4.mul(secondOf(x), v128.load_splat<f32>(scale, 4)), 16);
    }
  }
}

// Lanes of eight numbers; what is behind the last one is left out.
function widenKeyLanes(k: usize, dim: usize, keys: usize, step: usize, scales: usize, wide: usize): void {
  for (let group: usize = 0; group < keys; group += 4, scales += 16) {
    for (let d: usize = 0; d < dim; d += 8, k += 16) {
      const x = v128.load(k), scale = v128.load(scales + (d / GROUP) * step);
      for (let n: usize = 0, end = min<usize>(8, dim - d); n < end; n++, wide += 16) {
        v128.store(wide, f32x4.mul(nibbles(x, n), scale));
      }
    }
  }
}

function widenValueLanes(
  v: usize, stride: usize, columns: usize, keys: usize, step: usize, scales: usize, wide: usize,
): void {
  for (let column: usize = 0; column < columns; column += 4, v += stride) {
    const scale = scales + (column / GROUP) * step;
    for (let key: usize = 0, at = v; key < keys; key += 8, at += 16) {
      const x = v128.load(at);
      for (let n: usize = 0, end = min<usize>(8, keys - key); n < end; n++, wide += 16) {
        const factor = v128.load_splat<f32>(scale + ((key + n) << 2));
        v128.store(wide, f32x4.mul(nibbles(x, n), factor));
      }
    }
  }
}

// Adds what all keys of the sequence have in common.
function addMean(wide: usize, mean: usize, dim: usize, keys: usize): void {
  for (let group: usize = 0; group < keys; group += 4) {
    for (let d: usize = 0; d < dim; d++, wide += 16) {
      v128.store(wide, f32x4.add(v128.load(wide), v128.load_splat<f32>(mean + (d << 2))));
    }
  }
}

// A tile of `keys` tokens, a multiple of 4, becomes f32. Scales of a group are `step` bytes from those of
// the next.
export function widenTile(
  storage: i32, k: usize, v: usize, stride: usize, dim: usize, valueDim: usize, keys: usize,
  scales: usize, step: usize, mean: usize, wideK: usize, wideV: usize,
): void {
  const columns = columnsOf(valueDim), vScales = scales + scalesOf(storage, dim) * step;
  if (storage == F16) widenTileOf<half>(k, v, stride, dim, columns, keys, wideK, wideV);
  else if (storage == BF16) widenTileOf<brain>(k, v, stride, dim, columns, keys, wideK, wideV);
  else if (storage == INT8) {
    widenTileOfBytes(k, v, stride, dim, columns, keys, scales, vScales, wideK, wideV);
  } else {
    widenKeyLanes(k, dim, keys, step, scales, wideK);
    widenValueLanes(v, stride, columns, keys, step, vScales, wideV);
  }
  if (mean != 0) addMean(wideK, mean, dim, keys);
}

// A row of another storage as f32.
function widenRow(storage: i32, source: usize, target: usize, count: usize): void {
  for (let at: usize = 0; at < count; at++) {
    const x = storage == F16
      ? loadOne<half>(source + (at << 1))
      : storage == BF16 ? loadOne<brain>(source + (at << 1)) : loadOne<f32>(source + (at << 2));
    f32.store(target + (at << 2), x);
  }
}

// Where an element of a token's key, and of its value, is among those of its kind: lanes of eight, pairs, or
// one by one.

// @ts-ignore: decorator
@inline
function keyLane(slot: usize, dim: usize, d: usize): usize {
  return (slot & ~3) * (depthOf(INT4, dim) >> 1) + ((d >> 3) << 4) + ((slot & 3) << 2);
}

// @ts-ignore: decorator
@inline
function valueLane(slot: usize, pageKeys: usize, column: usize): usize {
  return ((column >> 2) * pageKeys << 1) + ((slot >> 3) << 4) + ((column & 3) << 2);
}

// Whether some f16 that a number became is no number.

// @ts-ignore: decorator
@inline
function isSpecial(at: usize): u32 {
  return <u32>((load<u16>(at) & 0x7c00) == 0x7c00);
}

function writeToken<T>(
  k: usize, v: usize, page: usize, values: usize, flag: usize, pageKeys: usize, dim: usize, valueDim: usize,
  slot: usize,
): void {
  let special: u32 = 0;
  let to = page + ((slot & ~3) * dim + (slot & 3)) * sizeof<T>();
  for (let d: usize = 0; d < dim; d++, to += 4 * sizeof<T>()) {
    storeElement<T>(to, f32.load(k + (d << 2)));
    if (isSigned<T>() && !isFloat<T>()) special |= isSpecial(to);
  }
  for (let column: usize = 0; column < columnsOf(valueDim); column++) {
    const x: f32 = column < valueDim ? f32.load(v + (column << 2)) : 0;
    const at = values + (((column >> 2) * pageKeys + slot) * 4 + (column & 3)) * sizeof<T>();
    storeElement<T>(at, x);
    if (isSigned<T>() && !isFloat<T>()) special |= isSpecial(at);
  }
  if (isSigned<T>() && !isFloat<T>()) store<u32>(flag, slot == 0 ? special : load<u32>(flag) | special);
}

function writeTokenAsNibbles(
  k: usize, v: usize, page: usize, values: usize, scales: usize, pageKeys: usize, dim: usize,
  valueDim: usize, slot: usize,
): void {
  scales += slot << 2;
  for (let first: usize = 0; first < dim; first += GROUP, scales += pageKeys << 2) {
    const count = min(GROUP, dim - first), scale = nibbleScale(k + (first << 2), count);
    const inverse: f32 = scale == 0 ? 0 : 1 / scale;
    f32.store(scales, scale);
    for (let d = first; d < first + count; d++) {
      storeNibble(page + keyLane(slot, dim, d), d & 7, toNibble(f32.load(k + (d << 2)), inverse));
    }
  }
  for (let first: usize = 0; first < valueDim; first += GROUP, scales += pageKeys << 2) {
    const count = min(GROUP, valueDim - first), scale = nibbleScale(v + (first << 2), count);
    const inverse: f32 = scale == 0 ? 0 : 1 / scale;
    f32.store(scales, scale);
    for (let column = first; column < first + count; column++) {
      const x = toNibble(f32.load(v + (column << 2)), inverse);
      storeNibble(values + valueLane(slot, pageKeys, column), slot & 7, x);
    }
  }
}

// The factor that makes the largest of some numbers the largest byte; their scale is at `scale`.
function byteFactor(x: usize, count: usize, scale: usize): f32 {
  let largest = magnitudeOf(x, 4, count);
  if (largest < SMALLEST) largest = 0;
  f32.store(scale, largest / MOST);
  return largest == 0 ? 0 : MOST / largest;
}

function writeTokenAsBytes(
  k: usize, v: usize, page: usize, values: usize, scales: usize, pageKeys: usize, dim: usize,
  valueDim: usize, slot: usize,
): void {
  const padded = depthOf(INT8, dim), kScale = scales + (slot << 2), vScale = kScale + (pageKeys << 2);
  const kFactor = byteFactor(k, dim, kScale), vFactor = byteFactor(v, valueDim, vScale);
  const to = page + (slot & ~3) * padded + ((slot & 3) << 1);
  for (let d: usize = 0; d < padded; d++) {
    const x: f32 = d < dim ? nearest(f32.load(k + (d << 2)) * kFactor) : 0;
    store<i8>(to + (d >> 1) * 8 + (d & 1), <i8><i32>x);
  }
  for (let column: usize = 0; column < columnsOf(valueDim); column++) {
    const x: f32 = column < valueDim ? nearest(f32.load(v + (column << 2)) * vFactor) : 0;
    const at = (((column >> 2) * pageKeys + (slot & ~1)) << 2) + ((column & 3) << 1) + (slot & 1);
    store<i8>(values + at, <i8><i32>x);
  }
}

// Writes `count` tokens of one head, contiguous rows of storages kFrom and vFrom at k and v, into a page from slot
// `slot` on; keys less `mean`, where it is not 0. `row` is room for one key and one value in f32.
export function writeTokens(
  kFrom: i32, vFrom: i32, storage: i32, k: usize, v: usize, count: usize, row: usize, mean: usize, page: usize,
  values: usize, scales: usize, pageKeys: usize, dim: usize, valueDim: usize, slot: usize,
): void {
  const value = row + (dim << 2), kBytes = dim * (bytesOfFour(kFrom) >> 2), vBytes = valueDim * (bytesOfFour(vFrom) >> 2);
  values += page;
  scales += page;
  for (const end = slot + count; slot < end; slot++) {
    widenRow(kFrom, k, row, dim);
    widenRow(vFrom, v, value, valueDim);
    if (mean != 0) {
      for (let d: usize = 0; d < dim << 2; d += 4) f32.store(row + d, f32.load(row + d) - f32.load(mean + d));
    }
    if (storage == INT8) writeTokenAsBytes(row, value, page, values, scales, pageKeys, dim, valueDim, slot);
    else if (storage == INT4) writeTokenAsNibbles(row, value, page, values, scales, pageKeys, dim, valueDim, slot);
    else if (storage == F16) writeToken<half>(row, value, page, values, scales, pageKeys, dim, valueDim, slot);
    else if (storage == BF16) writeToken<brain>(row, value, page, values, 0, pageKeys, dim, valueDim, slot);
    else writeToken<f32>(row, value, page, values, 0, pageKeys, dim, valueDim, slot);
    k += kBytes;
    v += vBytes;
  }
}

// Units of `bytes` each, `apart` bytes from one to the next on both sides.
function copyUnits(from: usize, to: usize, count: usize, bytes: usize, apart: usize): void {
  for (; count > 0; count--, from += apart, to += apart) memory.copy(to, from, bytes);
}

// Copies one token of one head from a page to another, or to another slot of its own.
export function copyToken(
  storage: i32, from: usize, source: usize, to: usize, target: usize, values: usize, scales: usize,
  pageKeys: usize, dim: usize, valueDim: usize,
): void {
  const bytes = bytesOfFour(storage) >> 2, columns = columnsOf(valueDim);
  if (storage == INT4) {
    for (let d: usize = 0; d < dim; d++) {
      storeNibble(to + keyLane(target, dim, d), d & 7, loadNibble(from + keyLane(source, dim, d), d & 7));
    }
    for (let column: usize = 0; column < valueDim; column++) {
      const x = loadNibble(from + values + valueLane(source, pageKeys, column), source & 7);
      storeNibble(to + values + valueLane(target, pageKeys, column), target & 7, x);
    }
  } else if (storage == INT8) {
    const padded = depthOf(storage, dim);
    const k = from + (source & ~3) * padded + ((source & 3) << 1);
    copyUnits(k, to + (target & ~3) * padded + ((target & 3) << 1), padded >> 1, 2, 8);
    for (let lane: usize = 0; lane < 8; lane += 2) {
      const v = from + values + ((source & ~1) << 2) + lane + (source & 1);
      const into = to + values + ((target & ~1) << 2) + lane + (target & 1);
      copyUnits(v, into, columns >> 2, 1, pageKeys << 2);
    }
  } else {
    const k = from + ((source & ~3) * dim + (source & 3)) * bytes;
    copyUnits(k, to + ((target & ~3) * dim + (target & 3)) * bytes, dim, bytes, 4 * bytes);
    const v = from + values + source * 4 * bytes;
    copyUnits(v, to + values + target * 4 * bytes, columns >> 2, 4 * bytes, pageKeys * 4 * bytes);
    if (storage == F16) store<u32>(to + scales, load<u32>(to + scales) | load<u32>(from + scales));
    return;
  }
  const groups = scalesOf(storage, dim) + scalesOf(storage, valueDim);
  copyUnits(from + scales + (source << 2), to + scales + (target << 2), groups, 4, pageKeys << 2);
}
