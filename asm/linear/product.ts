// Products of matrices of any storage and stride: y = a x, eight rows of y at a time by the micro-kernel that sums the
// values of attention. Both factors are packed, STEPS of the depth at a time: x as columns [columns / 4][steps][4], and
// a as panels [steps][8]. Sums are formed in runs, these in parts of PRODUCT_PART, and parts one after the other, so that
// the error does not grow with the depth.

import { packFourRows, packKeys, packValues, unpackFourRows } from "../layout";
import { accumulateColumns, ONES, RUN } from "../products";
import { addresses, Columns, PANEL } from "../record";
import { HeadRows, PRODUCT_PART, ProductJob } from "../records.gen";
import { BF16, bf16, bytesOf, F16, f16, loadFour } from "../storage";
import { rowsAt } from "../rows/row";

// Of the depth at a time: what is packed of both stays in L1 and L2.
const STEPS: usize = 2 * RUN;


// What is under way of a job.
@unmanaged
class Product {
  values: Columns;
  turned: HeadRows;
  // Packed columns of x, a panel of a, and the sums of a part: [rows / 8][columns][8].
  x: usize;
  panel: usize;
  part: usize;
}

const HEAD: usize = 128;

// @ts-ignore: decorator
@inline
function columnsOf(job: ProductJob): usize {
  return (job.columns + 3) & ~3;
}

// @ts-ignore: decorator
@inline
function rowsOf(job: ProductJob): usize {
  return (job.rows + 7) & ~7;
}

// @ts-ignore: decorator
@inline
function sumBytes(job: ProductJob): usize {
  return rowsOf(job) * columnsOf(job) << 2;
}

// Bytes of tile memory that a job needs.
export function productScratch(job: ProductJob): usize {
  return HEAD + (STEPS << 2) * (columnsOf(job) + PANEL) + sumBytes(job);
}

// @ts-ignore: decorator
@inline
function bytesOfOne(storage: i32): i32 {
  return storage == F16 || storage == BF16 ? 2 : 4;
}

function turn(rows: HeadRows, turned: HeadRows): HeadRows {
  turned.element = rows.row;
  turned.row = rows.element;
  turned.storage = rows.storage;
  return turned;
}

function clear(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 16) v128.store(at, f32x4.splat(0));
}

function addTo(sums: usize, part: usize, bytes: usize): void {
  for (const end = sums + bytes; sums < end; sums += 16, part += 16) {
    v128.store(sums, f32x4.add(v128.load(sums), v128.load(part)));
  }
}

// Some steps of x, of rows whose elements are neighbours, or whose columns' are.
function packColumns(job: ProductJob, at: Product, from: usize, steps: usize): void {
  const rows = rowsAt(job, offsetof<ProductJob>("x")), source = rows.at + from * rows.row;
  if (rows.row == bytesOfOne(rows.storage)) packKeys(turn(rows, at.turned), source, at.x, steps, job.columns);
  else packValues(rows, source, at.x, steps << 4, job.columns, steps);
}

// Eight columns whose elements are neighbours become a panel as they are.
function packAcross<T>(source: usize, step: usize, panel: usize, steps: usize): void {
  for (const end = panel + (steps << 5); panel < end; panel += 32, source += step) {
    v128.store(panel, loadFour<T>(source));
    v128.store(panel, loadFour<T>(source + (bytesOf<T>() << 2)), 16);
  }
}

// Some steps of eight rows of a; rows past the last repeat it.
function packRows(job: ProductJob, panel: usize, row: usize, from: usize, steps: usize): void {
  const rows = rowsAt(job, offsetof<ProductJob>("a")), step = <usize>rows.row, last = job.rows - 1;
  const base = rows.at + from * rows.element, source = base + row * step;
  if (rows.row == bytesOfOne(rows.storage) && row + PANEL <= job.rows) {
    if (rows.storage == F16) packAcross<f16>(source, rows.element, panel, steps);
    else if (rows.storage == BF16) packAcross<bf16>(source, rows.element, panel, steps);
    else packAcross<f32>(source, rows.element, panel, steps);
    return;
  }
  for (let lane: usize = 0; lane < PANEL; lane += 4, panel += 16) {
    const first = row + lane;
    packFourRows(rows, addresses(
      base + min(first, last) * step,
      base + min(first + 1, last) * step,
      base + min(first + 2, last) * step,
      base + min(first + 3, last) * step,
    ), panel, steps, 1);
  }
}

// Some steps of all rows, on the sums of a part.
function addSteps(job: ProductJob, at: Product, from: usize, steps: usize): void {
  const values = at.values, stride = columnsOf(job) << 5;
  packColumns(job, at, from, steps);
  values.at = at.x;
  values.row = 16;
  values.columns = steps << 4;
  values.count = steps;
  values.skipped = 0;
  for (let row: usize = 0, o = at.part; row < job.rows; row += PANEL, o += stride) {
    packRows(job, at.panel, row, from, steps);
    accumulateColumns(job.splats, values, at.panel, o, o + stride, ONES);
  }
}

// The sums become rows of y.
function writeRows(job: ProductJob): void {
  const rows = rowsAt(job, offsetof<ProductJob>("y")), step = <usize>rows.row, ones = f32x4.splat(1);
  const stride = columnsOf(job) << 5;
  for (let row: usize = 0, o = job.sums; row < job.rows; row += PANEL, o += stride) {
    for (let lane: usize = 0; lane < PANEL && row + lane < job.rows; lane += 4) {
      const at = rows.at + (row + lane) * step, count = job.rows - row - lane;
      const four = addresses(at, at + step, at + 2 * step, at + 3 * step);
      unpackFourRows(rows, four, o + (lane << 2), ones, job.columns, count);
    }
  }
}

// Sums begin at 0 or go on from where an earlier job has left them, and become rows where that is asked for.
export function product(job: ProductJob, scratch: usize): void {
  const at = changetype<Product>(scratch), sums = sumBytes(job), depth = job.depth;
  at.values = changetype<Columns>(scratch + offsetof<Product>());
  at.turned = changetype<HeadRows>(scratch + offsetof<Product>() + offsetof<Columns>());
  at.x = scratch + HEAD;
  at.panel = at.x + (STEPS << 2) * columnsOf(job);
  at.part = at.panel + (STEPS << 5);
  if (job.isFirst) clear(job.sums, sums);
  for (let from: usize = 0; from < depth;) {
    const end = min(from + PRODUCT_PART, depth);
    clear(at.part, sums);
    for (; from < end; from += STEPS) addSteps(job, at, from, min(STEPS, end - from));
    from = end;
    addTo(job.sums, at.part, sums);
  }
  if (job.isLast) writeRows(job);
}
