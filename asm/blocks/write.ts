// How tokens are written into blocks of a cache, and moved among them.

import { BlockLayout, Tokens } from "../records.gen";
import { BF16, bf16, F16, f16, loadFour, loadOne, magnitudeOf, storeOne } from "../storage";
import { loadNibble, nibbleScale, SMALLEST, storeNibble, toNibble } from "./integer";
import { bytesOfFour, columnsOf, depthOf, GROUP, INT4, INT8, scalesOf, scaleStep } from "./layout";

// Largest number that a byte holds.
const MOST: f32 = 127;

function widenRowOf<T>(source: usize, target: usize, count: usize): void {
  const end = target + (count << 2);
  for (const whole = target + ((count & ~3) << 2); target < whole; target += 16, source += 4 * sizeof<T>()) {
    v128.store(target, loadFour<T>(source));
  }
  for (; target < end; target += 4, source += sizeof<T>()) f32.store(target, loadOne<T>(source));
}

// A row of another storage as f32.
function widenRow(storage: i32, source: usize, target: usize, count: usize): void {
  if (storage == F16) widenRowOf<f16>(source, target, count);
  else if (storage == BF16) widenRowOf<bf16>(source, target, count);
  else widenRowOf<f32>(source, target, count);
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
function valueLane(slot: usize, tokens: usize, column: usize): usize {
  return ((column >> 2) * tokens << 1) + ((slot >> 3) << 4) + ((column & 3) << 2);
}

// The value that is written, behind the key.

// @ts-ignore: decorator
@inline
function valueOf(token: Tokens): usize {
  return token.row + (token.dim << 2);
}

// Whether some f16 that a number became is no number.

// @ts-ignore: decorator
@inline
function isSpecial(at: usize): u32 {
  return <u32>((load<u16>(at) & 0x7c00) == 0x7c00);
}

function writeToken<T>(token: Tokens): void {
  const slot = token.slot, dim = token.dim, valueDim = token.valueDim, tokens: usize = token.tokens;
  const k = token.row, v = valueOf(token);
  let special: u32 = 0;
  let to = token.block + ((slot & ~3) * dim + (slot & 3)) * sizeof<T>();
  for (let d: usize = 0; d < dim; d++, to += 4 * sizeof<T>()) {
    storeOne<T>(to, f32.load(k + (d << 2)));
    if (isSigned<T>() && !isFloat<T>()) special |= isSpecial(to);
  }
  const values = token.block + token.values;
  for (let column: usize = 0; column < columnsOf(valueDim); column++) {
    const x: f32 = column < valueDim ? f32.load(v + (column << 2)) : 0;
    const at = values + (((column >> 2) * tokens + slot) * 4 + (column & 3)) * sizeof<T>();
    storeOne<T>(at, x);
    if (isSigned<T>() && !isFloat<T>()) special |= isSpecial(at);
  }
  if (!isSigned<T>() || isFloat<T>()) return;
  const flag = token.block + token.scales;
  store<u32>(flag, slot == 0 ? special : load<u32>(flag) | special);
}

function writeTokenAsNibbles(token: Tokens): void {
  const slot = token.slot, dim = token.dim, valueDim = token.valueDim, step = scaleStep(token);
  const k = token.row, v = valueOf(token), values = token.block + token.values;
  let scales = token.block + token.scales + (slot << 2);
  for (let first: usize = 0; first < dim; first += GROUP, scales += step) {
    const count = min(GROUP, dim - first), scale = nibbleScale(k + (first << 2), count);
    const inverse: f32 = scale == 0 ? 0 : 1 / scale;
    f32.store(scales, scale);
    for (let d = first; d < first + count; d++) {
      storeNibble(token.block + keyLane(slot, dim, d), d & 7, toNibble(f32.load(k + (d << 2)), inverse));
    }
  }
  for (let first: usize = 0; first < valueDim; first += GROUP, scales += step) {
    const count = min(GROUP, valueDim - first), scale = nibbleScale(v + (first << 2), count);
    const inverse: f32 = scale == 0 ? 0 : 1 / scale;
    f32.store(scales, scale);
    for (let column = first; column < first + count; column++) {
      const x = toNibble(f32.load(v + (column << 2)), inverse);
      storeNibble(values + valueLane(slot, token.tokens, column), slot & 7, x);
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

function writeTokenAsBytes(token: Tokens): void {
  const slot = token.slot, dim = token.dim, valueDim = token.valueDim, padded = depthOf(INT8, dim);
  const k = token.row, v = valueOf(token), values = token.block + token.values;
  const kScale = token.block + token.scales + (slot << 2), vScale = kScale + scaleStep(token);
  const kFactor = byteFactor(k, dim, kScale), vFactor = byteFactor(v, valueDim, vScale);
  const to = token.block + (slot & ~3) * padded + ((slot & 3) << 2);
  for (let d: usize = 0; d < padded; d++) {
    const x: f32 = d < dim ? nearest(f32.load(k + (d << 2)) * kFactor) : 0;
    store<i8>(to + (d >> 2) * 16 + (d & 3), <i8><i32>x);
  }
  for (let column: usize = 0; column < columnsOf(valueDim); column++) {
    const x: f32 = column < valueDim ? nearest(f32.load(v + (column << 2)) * vFactor) : 0;
    const at = ((column >> 2) * token.tokens + (slot & ~3) + (column & 3)) << 2;
    store<i8>(values + at + (slot & 3), <i8><i32>x);
  }
}

// Writes tokens of one head, contiguous rows of keys and values, into a block from a slot on; keys minus their mean,
// where there is one. The record moves on with what is written.
export function writeTokens(token: Tokens): void {
  const storage = token.storage, dim = token.dim, mean = token.mean, row = token.row;
  for (; token.count > 0; token.count--, token.slot++) {
    widenRow(token.kStorage, token.k, row, dim);
    widenRow(token.vStorage, token.v, valueOf(token), token.valueDim);
    if (mean != 0) {
      for (let d: usize = 0; d < dim << 2; d += 4) f32.store(row + d, f32.load(row + d) - f32.load(mean + d));
    }
    if (storage == INT8) writeTokenAsBytes(token);
    else if (storage == INT4) writeTokenAsNibbles(token);
    else if (storage == F16) writeToken<f16>(token);
    else if (storage == BF16) writeToken<bf16>(token);
    else writeToken<f32>(token);
    token.k += dim * (bytesOfFour(token.kStorage) >> 2);
    token.v += token.valueDim * (bytesOfFour(token.vStorage) >> 2);
  }
}

// Units of `bytes` each, `apart` bytes from one to the next on both sides.
function copyUnits(from: usize, to: usize, count: usize, bytes: usize, apart: usize): void {
  for (; count > 0; count--, from += apart, to += apart) memory.copy(to, from, bytes);
}

// Copies one token of one head, slot `source` of the block `from`, to the slot `target` of a block.
export function copyToken(layout: BlockLayout, from: usize, source: usize, to: usize, target: usize): void {
  const storage = layout.storage, tokens: usize = layout.tokens, dim = layout.dim, valueDim = layout.valueDim;
  const values: usize = layout.values, scales: usize = layout.scales;
  const bytes = bytesOfFour(storage) >> 2, columns = columnsOf(valueDim);
  if (storage == INT4) {
    for (let d: usize = 0; d < dim; d++) {
      storeNibble(to + keyLane(target, dim, d), d & 7, loadNibble(from + keyLane(source, dim, d), d & 7));
    }
    for (let column: usize = 0; column < valueDim; column++) {
      const x = loadNibble(from + values + valueLane(source, tokens, column), source & 7);
      storeNibble(to + values + valueLane(target, tokens, column), target & 7, x);
    }
  } else {
    // Of bytes four of a key are a unit.
    const isBytes = storage == INT8, units = isBytes ? depthOf(storage, dim) >> 2 : dim, unit: usize = isBytes ? 4 : bytes;
    const k = from + ((source & ~3) * units + (source & 3)) * unit;
    copyUnits(k, to + ((target & ~3) * units + (target & 3)) * unit, units, unit, 4 * unit);
    if (isBytes) {
      for (let lane: usize = 0; lane < 16; lane += 4) {
        const v = from + values + ((source & ~3) << 2) + lane + (source & 3);
        const into = to + values + ((target & ~3) << 2) + lane + (target & 3);
        copyUnits(v, into, columns >> 2, 1, tokens << 2);
      }
    } else {
      const v = from + values + source * 4 * bytes;
      copyUnits(v, to + values + target * 4 * bytes, columns >> 2, 4 * bytes, tokens * 4 * bytes);
      if (storage == F16) store<u32>(to + scales, load<u32>(to + scales) | load<u32>(from + scales));
      return;
    }
  }
  const groups = scalesOf(storage, dim) + scalesOf(storage, valueDim);
  copyUnits(from + scales + (source << 2), to + scales + (target << 2), groups, 4, tokens << 2);
}
