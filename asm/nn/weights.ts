// Weights on their way into panels, and panels of 16 bits or less on theirs to f32.

import { packFourRows } from "../layout";
import { addresses } from "../record";
import {
  HeadRows, LayerJob, PackJob, SOURCE_Q4, SOURCE_Q8, WEIGHT_BF16, WEIGHT_F16, WEIGHT_F32, WEIGHT_INT16, WEIGHT_INT8,
} from "../records.gen";
import { readRow, rowsAt } from "../rows/row";
import { bf16, F32, f16, loadFour, loadOne, storeOne } from "../storage";
import { BLOCK, firstOf, OUTPUTS, secondOf } from "./product";
import { factorOf, quantizeWeights8 } from "./quantize";

// Eight outputs of floats.
function widenFloats<T>(from: usize, to: usize, depth: usize): void {
  for (const end = from + (depth << 4); from < end; from += 16, to += 32) {
    v128.store(to, loadFour<T>(from));
    v128.store(to, loadFour<T>(from + 8), 16);
  }
}

// Two inputs of eight outputs.

// @ts-ignore: decorator
@inline
function storePairs(to: usize, p: v128, q: v128, scale: v128, scale1: v128): void {
  v128.store(to, f32x4.mul(firstOf(p), scale));
  v128.store(to, f32x4.mul(firstOf(q), scale1), 16);
  v128.store(to, f32x4.mul(secondOf(p), scale), 32);
  v128.store(to, f32x4.mul(secondOf(q), scale1), 48);
}

function widen16(from: usize, scales: usize, to: usize, depth: usize): void {
  const scale = v128.load(scales), scale1 = v128.load(scales, 16);
  for (const end = from + (depth << 4); from < end; from += 32, to += 64) {
    storePairs(to, v128.load(from), v128.load(from, 16), scale, scale1);
  }
}

function widen8(from: usize, scales: usize, to: usize, depth: usize): void {
  for (let left = depth; left > 0; left -= BLOCK, scales += 64) {
    const scale = v128.load(scales), scale1 = v128.load(scales, 16);
    for (const end = from + (BLOCK << 3); from < end; from += 16, to += 64) {
      storePairs(to, v128.load_ext<i8>(from), v128.load_ext<i8>(from, 8), scale, scale1);
    }
  }
}

// A panel [depth][8] in f32.
export function widenPanel(stored: usize, from: usize, scales: usize, to: usize, depth: usize): void {
  if (stored == WEIGHT_F16) widenFloats<f16>(from, to, depth);
  else if (stored == WEIGHT_BF16) widenFloats<bf16>(from, to, depth);
  else if (stored == WEIGHT_INT16) widen16(from, scales, to, depth);
  else widen8(from, scales, to, depth);
}

// The weights of one output, `lane` of its panel, in f32.
export function readOutput(job: LayerJob, output: usize, to: usize): void {
  const lane = output % OUTPUTS, panel = output / OUTPUTS, stored = job.stored;
  const from = job.packed + panel * job.panelBytes, scales = job.scales + panel * job.scaleBytes + (lane << 2);
  for (let k: usize = 0; k < job.columns; k++, to += 4) {
    let x: f32;
    if (stored == WEIGHT_F32) x = load<f32>(from + (k << 5) + (lane << 2));
    else if (stored == WEIGHT_F16) x = loadOne<f16>(from + (k << 4) + (lane << 1));
    else if (stored == WEIGHT_BF16) x = loadOne<bf16>(from + (k << 4) + (lane << 1));
    else if (stored == WEIGHT_INT16) x = <f32>load<i16>(from + (k >> 1 << 5) + (lane << 2) + ((k & 1) << 1)) * load<f32>(scales);
    else x = <f32>load<i8>(from + (k >> 1 << 4) + (lane << 1) + (k & 1)) * load<f32>(scales + (k / BLOCK << 6));
    store<f32>(to, x * job.scale);
  }
}

// Inputs in whole blocks.

// @ts-ignore: decorator
@inline
function wholeInputs(job: PackJob): usize {
  return (job.inputs + BLOCK - 1) & ~(BLOCK - 1);
}

// Bytes of tile memory that a job needs: a row in f32.
export function packScratch(job: PackJob): usize {
  return wholeInputs(job) << 2;
}

// A row of four-bit numbers: of 16 bytes the lower bits are the first numbers, less 8.

// @ts-ignore: decorator
@inline
function byteOf(blocks: usize, isFour: bool, k: usize): i32 {
  if (!isFour) return <i32>load<i8>(blocks + 2 + k);
  const two = <u32>load<u8>(blocks + 2 + (k & 15));
  return <i32>(k < 16 ? two & 15 : two >> 4) - 8;
}

// A row of GGUF's blocks: scales in f16, and numbers as they are.
function packBlocks(job: PackJob, from: usize, to: usize, scales: usize): void {
  const isFour = <u32>rowsAt(job, offsetof<PackJob>("x")).storage == SOURCE_Q4, step: usize = isFour ? 18 : 34;
  for (let left = job.inputs; left > 0; left -= BLOCK, from += step, to += BLOCK << 3, scales += 64) {
    const scale = loadOne<f16>(from);
    let total: i32 = 0;
    for (let k: usize = 0; k < BLOCK; k++) {
      const q = byteOf(from, isFour, k);
      store<i8>(to + (k >> 1 << 4) + (k & 1), <i8>q);
      total += q;
    }
    store<f32>(scales, scale);
    store<f32>(scales + 32, scale * <f32>total);
  }
}

// Integers of 16 bits of a row, and their scale.
function packIntegers(job: PackJob, row: usize, to: usize, scale: usize): void {
  const by = factorOf(row, wholeInputs(job) << 2), isRight = by == by;
  store<f32>(scale, <f32>1 / by);
  for (let k: usize = 0; k < job.inputs; k++) {
    const q = isRight ? <i32>nearest<f32>(load<f32>(row + (k << 2)) * by) : 0;
    store<i16>(to + (k >> 1 << 5) + ((k & 1) << 1), <i16>q);
  }
}

// Floats of a row; whether they are finite as they are stored.
function packFloats(job: PackJob, row: usize, to: usize): bool {
  const stored = job.stored;
  let isFinite = true;
  for (const end = row + (job.inputs << 2); row < end; row += 4) {
    const x = load<f32>(row);
    if (stored == WEIGHT_F32) {
      store<f32>(to, x);
      to += 32;
      continue;
    }
    if (stored == WEIGHT_F16) storeOne<f16>(to, x);
    else storeOne<bf16>(to, x);
    if (stored == WEIGHT_F16 && (load<u16>(to) & 0x7c00) == 0x7c00) isFinite = false;
    to += 16;
  }
  return isFinite;
}

// Four outputs of a panel in f32, their rows from an address on.
function packFour(job: PackJob, x: HeadRows, from: usize, to: usize): void {
  const row = <usize>x.row, four = addresses(from, from + row, from + 2 * row, from + 3 * row);
  packFourRows(x, four, to, job.inputs, 1);
}

// Eight outputs in f32, from a row on: side by side as they lie, where rows are columns, or by transposing.
function packEight(job: PackJob, x: HeadRows, first: usize, to: usize): void {
  const row = <usize>x.row, element = <usize>x.element;
  let from = x.at + first * row;
  if (x.storage != F32 || row != 4) {
    packFour(job, x, from, to);
    packFour(job, x, from + 4 * row, to + 16);
    return;
  }
  for (const end = to + (job.inputs << 5); to < end; to += 32, from += element) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
  }
}

// Rows of a weight, each an output of its panel. What is not finite among integers makes their scale NaN.
export function packWeight(job: PackJob, scratch: usize): void {
  const x = rowsAt(job, offsetof<PackJob>("x")), stored = job.stored;
  const bytes: usize = stored == WEIGHT_F32 ? 4 : stored == WEIGHT_INT16 ? 4 : 2;
  let isFinite = true;
  for (let r: usize = 0; r < job.rows; r++) {
    const panel = r / OUTPUTS, lane = r % OUTPUTS;
    const to = job.weight + panel * job.panelBytes + lane * bytes, scale = job.scales + panel * job.scaleBytes + (lane << 2);
    if (<u32>x.storage >= SOURCE_Q8) {
      packBlocks(job, x.at + r * x.row, to, scale);
      continue;
    }
    if (stored == WEIGHT_F32 && lane == 0 && job.rows - r >= OUTPUTS) {
      packEight(job, x, r, to);
      r += OUTPUTS - 1;
      continue;
    }
    readRow(x, r, job.inputs, scratch, 1);
    for (let at = scratch + (job.inputs << 2), end = scratch + packScratch(job); at < end; at += 4) store<f32>(at, 0);
    if (stored == WEIGHT_INT8) quantizeWeights8(scratch, wholeInputs(job) / BLOCK, to, scale);
    else if (stored == WEIGHT_INT16) packIntegers(job, scratch, to, scale);
    else if (!packFloats(job, scratch, to)) isFinite = false;
  }
  if (!isFinite) store<u32>(job.finite, 0);
}
