// Linear layers: rows of any storage times packed weights, act(x W^T + bias) + y. A panel of eight outputs is multiplied with
// all rows of the job, packed four by four, and then the next one; what is in 16 bits or less becomes f32 a panel at a time.
// One row is multiplied with four panels at once, as they are stored. Either way each sum has its terms in the order of
// the inputs, so that a row has the same bits whatever is beside it.

import { packKeys, storeTransposed } from "../layout";
import {
  HeadRows, LinearJob, PRODUCT_F32, PRODUCT_INT16, PRODUCT_INT8, WEIGHT_BF16, WEIGHT_F16, WEIGHT_F32, WEIGHT_INT16,
  WEIGHT_INT8,
} from "../records.gen";
import { isPlain, readPart, readRow, rowsAt, writePart } from "../rows/row";
import { F32 } from "../storage";
import { activate } from "./activations";
import { BLOCK, OUTPUTS, PANELS, Product, ROWS } from "./product";
import {
  multiply_f32_1x32, multiply_f32_4x8, multiply_f32_bf16_1x32, multiply_f32_f16_1x32, multiply_f32_int16_1x32,
  multiply_f32_int8_1x32, multiply_int16_1x32, multiply_int16_4x8, multiply_int16_int8_1x32, multiply_int16_int8_4x8,
  multiply_int8_1x32, multiply_int8_4x8,
} from "./products.gen";
import { quantize16, quantize8 } from "./quantize";
import { widenPanel } from "./weights";

// What is under way of a job.
@unmanaged
class Linear extends Product {
  // The job's rows as they are packed, and their scales.
  packed: usize;
  packedScales: usize;
  // A row in f32, four rows of integers, a panel of weights in f32, and results of all rows for one panel.
  row32: usize;
  plain: usize;
  widened: usize;
  results: usize;
  // Bias of four panels.
  ownBias: usize;
}

const HEAD: usize = 128;

// Bytes of sums that wait, and of the bias of four panels.
const SUMS: usize = ROWS * OUTPUTS << 2, BIAS: usize = PANELS * OUTPUTS << 2;

// Inputs of a row as it is packed: what is missing to whole dwords, or to blocks, is 0.

// @ts-ignore: decorator
@inline
function depthOf(job: LinearJob): usize {
  if (job.stored == WEIGHT_INT8) return (job.inputs + BLOCK - 1) & ~(BLOCK - 1);
  return job.stored == WEIGHT_INT16 ? (job.inputs + 1) & ~1 : job.inputs;
}

// Bytes of an element of a packed row.

// @ts-ignore: decorator
@inline
function shiftOf(job: LinearJob): usize {
  return job.product == PRODUCT_F32 ? 2 : job.product == PRODUCT_INT16 ? 1 : 0;
}

// @ts-ignore: decorator
@inline
function rowBytes(job: LinearJob): usize {
  return depthOf(job) << shiftOf(job);
}

// @ts-ignore: decorator
@inline
function tilesOf(job: LinearJob): usize {
  return (job.rows + ROWS - 1) / ROWS;
}

// Bytes of the scales of a tile's rows.

// @ts-ignore: decorator
@inline
function tileScaleBytes(job: LinearJob): usize {
  if (job.product == PRODUCT_F32) return 0;
  return job.product == PRODUCT_INT16 ? 16 : depthOf(job) / BLOCK << 5;
}

// Rows are read in f32 in whole blocks.

// @ts-ignore: decorator
@inline
function row32Bytes(job: LinearJob): usize {
  return (job.inputs + BLOCK - 1 & ~(BLOCK - 1)) << 2;
}

// Whether panels become f32 before they are multiplied.

// @ts-ignore: decorator
@inline
function becomesFloat(job: LinearJob): bool {
  return job.product == PRODUCT_F32 && job.stored != WEIGHT_F32;
}

// @ts-ignore: decorator
@inline
function aligned(bytes: usize): usize {
  return (bytes + 63) & ~63;
}

// Places in tile memory; their end is how much a job needs.
function place(job: LinearJob, scratch: usize): usize {
  const at = changetype<Linear>(scratch), tiles = tilesOf(job);
  let end = scratch + HEAD;
  const sums = end;
  end += SUMS;
  const bias = end;
  end += BIAS;
  const packed = end;
  end += aligned((tiles * rowBytes(job) << 2) + 64);
  const scales = end;
  end += aligned(tiles * tileScaleBytes(job));
  const row32 = end;
  end += aligned(row32Bytes(job) << 2);
  const plain = end;
  end += job.product == PRODUCT_F32 ? 0 : aligned(row32Bytes(job) << 1);
  const widened = end;
  end += becomesFloat(job) ? aligned(depthOf(job) * OUTPUTS << 2) : 0;
  const results = end;
  end += aligned(max(tiles * ROWS, PANELS) * OUTPUTS << 2);
  if (scratch == 0) return end;
  at.sums = sums;
  at.ownBias = bias;
  at.packed = packed;
  at.packedScales = scales;
  at.row32 = row32;
  at.plain = plain;
  at.widened = widened;
  at.results = results;
  return end;
}

// Bytes of tile memory that a job needs.
export function linearScratch(job: LinearJob): usize {
  return place(job, 0);
}

// Behind its last number a row goes on with 0, or with the same number again, so that no range grows.
function pad(job: LinearJob, row: usize): void {
  const end = row + row32Bytes(job);
  let at = row + (job.inputs << 2);
  for (const last: f32 = job.product == PRODUCT_INT8 ? load<f32>(at - 4) : 0; at < end; at += 4) store<f32>(at, last);
}

// A row in f32, in whole blocks.
function readWhole(job: LinearJob, x: HeadRows, index: usize, row: usize): usize {
  if (isPlain(x) && job.inputs % BLOCK == 0) return x.at + index * x.row;
  readRow(x, index, job.inputs, row, 1);
  pad(job, row);
  return row;
}

// Four rows of dwords side by side: [dwords][4]. What is written too much is the next tile's.
function interleave(x0: usize, x1: usize, x2: usize, x3: usize, to: usize, bytes: usize): void {
  for (const end = x0 + bytes; x0 < end; x0 += 16, x1 += 16, x2 += 16, x3 += 16, to += 64) {
    storeTransposed(to, 16, v128.load(x0), v128.load(x1), v128.load(x2), v128.load(x3));
  }
}

// One row as it lies.
function packOne(job: LinearJob, at: Linear, x: HeadRows): void {
  if (job.product == PRODUCT_F32) {
    readRow(x, 0, job.inputs, at.packed, 1);
    for (let k = job.inputs; k < depthOf(job); k++) store<f32>(at.packed + (k << 2), 0);
    return;
  }
  const row = readWhole(job, x, 0, at.row32), bytes = row32Bytes(job);
  if (job.product == PRODUCT_INT16) quantize16(row, bytes, at.packed, at.packedScales);
  else quantize8(row, bytes, at.packed, at.packedScales, 8, 4);
}

// Up to four rows of floats; what the last dwords lack is 0.

// @ts-ignore: decorator
@inline
function packFloats(job: LinearJob, x: HeadRows, first: usize, to: usize): void {
  const inputs = job.inputs;
  packKeys(x, x.at + first * x.row, to, inputs, min(ROWS, job.rows - first));
  for (let at = to + (inputs << 4), end = to + (depthOf(job) << 4); at < end; at += 16) v128.store(at, f32x4.splat(0));
}

// Inputs of rows that are columns where they lie, at a time: so many numbers of a line are used one after the other.
const COLUMNS: usize = 16;

// Rows of floats that are columns where they lie, so that four numbers are a vector as they are: all but the last three at
// most. Gives how many.
function packColumns(job: LinearJob, x: HeadRows, target: usize): usize {
  const whole = job.rows & ~(ROWS - 1), inputs = job.inputs, element = <usize>x.element;
  for (let k: usize = 0; k < inputs; k += COLUMNS) {
    const count = min(COLUMNS, inputs - k), first = x.at + k * element;
    for (let r: usize = 0; r < whole; r += ROWS) {
      let from = first + (r << 2), to = target + (r >> 2) * (inputs << 4) + (k << 4);
      for (const end = to + (count << 4); to < end; to += 16, from += element) v128.store(to, v128.load(from));
    }
  }
  return whole;
}

// All rows, four by four; past the last that one is repeated.
function packRows(job: LinearJob, at: Linear, x: HeadRows): void {
  const row = rowBytes(job), bytes = row32Bytes(job), last = job.rows - 1, scaleBytes = tileScaleBytes(job), plain = at.plain;
  const isTurned = x.storage == F32 && x.row == 4 && job.stored == WEIGHT_F32;
  let r: usize = isTurned ? packColumns(job, x, at.packed) : 0;
  let to = at.packed + r * row, scales = at.packedScales;
  for (; r < job.rows; r += ROWS, to += row << 2, scales += scaleBytes) {
    if (job.product == PRODUCT_F32) {
      packFloats(job, x, r, to);
      continue;
    }
    for (let i: usize = 0; i < ROWS; i++) {
      const from = readWhole(job, x, min(r + i, last), at.row32), target = plain + i * row, scale = scales + (i << 2);
      if (job.product == PRODUCT_INT16) quantize16(from, bytes, target, scale);
      else quantize8(from, bytes, target, scale, 32, 16);
    }
    interleave(plain, plain + row, plain + 2 * row, plain + 3 * row, to, row);
  }
}

// All rows with one panel.
function multiplyTiles(job: LinearJob, at: Linear): void {
  const product = changetype<Product>(at);
  if (job.product == PRODUCT_F32) multiply_f32_4x8(product);
  else if (job.product == PRODUCT_INT8) multiply_int8_4x8(product);
  else if (job.stored == WEIGHT_INT16) multiply_int16_4x8(product);
  else multiply_int16_int8_4x8(product);
}

// One row with four panels.
function multiplyRow(job: LinearJob, at: Linear): void {
  const product = changetype<Product>(at), stored = job.stored;
  if (job.product == PRODUCT_INT8) multiply_int8_1x32(product);
  else if (job.product == PRODUCT_INT16) {
    if (stored == WEIGHT_INT16) multiply_int16_1x32(product);
    else multiply_int16_int8_1x32(product);
  } else if (stored == WEIGHT_F16) multiply_f32_f16_1x32(product);
  else if (stored == WEIGHT_BF16) multiply_f32_bf16_1x32(product);
  else if (stored == WEIGHT_INT16) multiply_f32_int16_1x32(product);
  else if (stored == WEIGHT_INT8) multiply_f32_int8_1x32(product);
  else multiply_f32_1x32(product);
}

// The bias of some outputs, and 0 beyond the last and where there is none.
function readBias(job: LinearJob, at: Linear, first: usize, count: usize): usize {
  const bias = rowsAt(job, offsetof<LinearJob>("bias")), to = at.ownBias;
  for (let byte: usize = 0; byte < BIAS; byte += 16) v128.store(to + byte, f32x4.splat(0));
  if (bias.at != 0) readPart(bias, 0, first, count, to);
  return to;
}

// Adds `count` columns of other rows, from one on, to rows of eight numbers.
function addRows(y: HeadRows, row: usize, column: usize, count: usize, to: usize, spare: usize): void {
  let from = y.at + row * y.row + (column << 2);
  if (!isPlain(y) || count < OUTPUTS) {
    readPart(y, row, column, count, spare);
    from = spare;
  }
  v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
  v128.store(to, f32x4.add(v128.load(to, 16), v128.load(from, 16)), 16);
}

// Results of one panel, `count` columns from one on, as they are wanted: in their place already, or to be written there.
function finish(job: LinearJob, at: Linear, column: usize, count: usize): void {
  const y = rowsAt(job, offsetof<LinearJob>("y")), out = rowsAt(job, offsetof<LinearJob>("out"));
  const results = at.out, step = at.outRow, spare = at.ownBias;
  activate(job.activation, results, step, job.rows);
  if (y.at != 0) for (let r: usize = 0; r < job.rows; r++) addRows(y, r, column, count, results + r * step, spare);
  if (results != at.results) return;
  const isWhole = isPlain(out) && count == OUTPUTS;
  for (let r: usize = 0, from = results; r < job.rows; r++, from += step) {
    if (!isWhole) {
      writePart(out, r, column, count, from);
      continue;
    }
    const to = out.at + r * out.row + (column << 2);
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
  }
}

// A panel as it is multiplied with tiles.

// @ts-ignore: decorator
@inline
function panelOf(job: LinearJob, at: Linear, panel: usize): usize {
  const stored = job.weight + panel * job.panelBytes;
  if (!becomesFloat(job)) return stored;
  widenPanel(job.stored, stored, job.scales + panel * job.scaleBytes, at.widened, depthOf(job));
  return at.widened;
}

// Some rows.
function linearTiles(job: LinearJob, at: Linear): void {
  const out = rowsAt(job, offsetof<LinearJob>("out")), y = rowsAt(job, offsetof<LinearJob>("y"));
  // Not where the other rows are: these are added later.
  const whole = isPlain(out) && job.rows % ROWS == 0 && y.at != out.at;
  packRows(job, at, rowsAt(job, offsetof<LinearJob>("x")));
  at.a = at.packed;
  at.row = rowBytes(job);
  at.rowScales = at.packedScales;
  at.tiles = tilesOf(job);
  for (let panel = job.firstPanel; panel < job.endPanel; panel++) {
    const column = panel * OUTPUTS;
    if (column >= job.outputs) return;
    const count = min(OUTPUTS, job.outputs - column), stays = whole && count == OUTPUTS;
    at.b = panelOf(job, at, panel);
    at.scales = job.scales + panel * job.scaleBytes;
    at.bias = readBias(job, at, column, count);
    at.out = stays ? out.at + (column << 2) : at.results;
    at.outRow = stays ? <usize>out.row : OUTPUTS << 2;
    multiplyTiles(job, at);
    finish(job, at, column, count);
  }
}

// The only row.
function linearRow(job: LinearJob, at: Linear): void {
  const out = rowsAt(job, offsetof<LinearJob>("out")), y = rowsAt(job, offsetof<LinearJob>("y"));
  const results = at.results, spare = at.row32;
  packOne(job, at, rowsAt(job, offsetof<LinearJob>("x")));
  at.a = at.packed;
  at.row = rowBytes(job);
  at.rowScales = at.packedScales;
  at.panel = job.panelBytes;
  at.scaleStep = job.scaleBytes;
  at.out = results;
  for (let panel = job.firstPanel; panel < job.endPanel; panel += PANELS) {
    const column = panel * OUTPUTS;
    if (column >= job.outputs) return;
    const count = min(PANELS * OUTPUTS, job.outputs - column);
    at.b = job.weight + panel * job.panelBytes;
    at.scales = job.scales + panel * job.scaleBytes;
    at.bias = readBias(job, at, column, count);
    multiplyRow(job, at);
    activate(job.activation, results, OUTPUTS << 2, PANELS);
    if (y.at != 0) {
      readPart(y, 0, column, count, spare);
      for (let byte: usize = 0; byte < BIAS; byte += 16) {
        v128.store(results + byte, f32x4.add(v128.load(results + byte), v128.load(spare + byte)));
      }
    }
    writePart(out, 0, column, count, results);
  }
}

// Rows of one job.
export function linear(job: LinearJob, scratch: usize): void {
  const at = changetype<Linear>(scratch);
  place(job, scratch);
  if (job.rows == 1 && (job.stored != WEIGHT_F16 || load<u32>(job.finite) != 0)) linearRow(job, at);
  else linearTiles(job, at);
}
