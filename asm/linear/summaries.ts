// Summaries: of each block of rows the mean, or the sum weighted by a pool that is divided by its own sum over the rows
// present. Rows are copied in f32 on their way where that is asked for, and the gradients go the same way back.

import { fma } from "../fma";
import { HeadRows, SummariesJob } from "../records.gen";
import { loadStored } from "../storage";
import { readRow, rowsAt, writeRow } from "../rows/row";

// Rows that are summed before they are added to the others.
const RUN: usize = 64;

// @ts-ignore: decorator
@inline
function rowBytes(job: SummariesJob): usize {
  return job.columns + 4 << 2 & ~15;
}

// Bytes of tile memory that a job needs: weights and their gradients, and rows.
export function summariesScratch(job: SummariesJob): usize {
  return (job.block + 4 << 2 & ~15) + (job.block + 2 << 3 & ~15) + rowBytes(job) * 3;
}

// What so many rows weigh in their summary, in f32; returns what the pool's numbers were divided by.
function share(job: SummariesJob, weights: usize, rows: usize): f64 {
  const pool = job.pool, step = job.poolElement, storage = job.poolStorage;
  let sum: f64 = 0;
  if (pool == 0) sum = <f64>rows;
  else for (let t: usize = 0; t < rows; t++) sum += <f64>loadStored(storage, pool + t * step);
  for (let t: usize = 0; t < rows; t++) {
    store<f32>(weights + (t << 2), <f32>((pool == 0 ? 1 : <f64>loadStored(storage, pool + t * step)) / sum));
  }
  return sum;
}

function clear(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 16) v128.store(at, f32x4.splat(0));
}

// sums += weight * row, of whole vectors: what is behind the last number is not used.
function addRow(sums: usize, row: usize, bytes: usize, weight: f32): void {
  const by = f32x4.splat(weight);
  for (const end = sums + bytes; sums < end; sums += 16, row += 16) {
    v128.store(sums, fma(by, v128.load(row), v128.load(sums)));
  }
}

// Rows that are copied alone.
function copy(job: SummariesJob, row: usize): void {
  const x = rowsAt(job, offsetof<SummariesJob>("x")), y = rowsAt(job, offsetof<SummariesJob>("y"));
  for (let r: usize = 0; r < job.rows; r++) {
    readRow(x, r, job.columns, row, 1);
    writeRow(y, r, job.columns, row);
  }
}

// One block, from row `first` on.
function summarize(job: SummariesJob, weights: usize, rows: usize, first: usize, count: usize): void {
  const x = rowsAt(job, offsetof<SummariesJob>("x")), y = rowsAt(job, offsetof<SummariesJob>("y"));
  const columns = job.columns, bytes = rowBytes(job), run = rows + bytes, sums = run + bytes;
  clear(sums, bytes);
  for (let t: usize = 0; t < count;) {
    clear(run, bytes);
    for (const end = min(t + RUN, count); t < end; t++) {
      const row = first + t;
      readRow(x, row, columns, rows, 1);
      if (y.at != 0) writeRow(y, row, columns, rows);
      addRow(run, rows, bytes, load<f32>(weights + (t << 2)));
    }
    addRow(sums, run, bytes, 1);
  }
  writeRow(rowsAt(job, offsetof<SummariesJob>("s")), first / job.block, columns, sums);
}

// Rows of whole blocks, but for the last; where there is no place for summaries, none are made.
export function summaries(job: SummariesJob, scratch: usize): void {
  if (job.s == 0) {
    copy(job, scratch);
    return;
  }
  const block = job.block, rows = scratch + (block + 4 << 2 & ~15) + (block + 2 << 3 & ~15);
  for (let first: usize = 0, shared: usize = 0; first < job.rows; first += block) {
    const count = min(block, job.rows - first);
    if (count != shared) share(job, scratch, count);
    shared = count;
    summarize(job, scratch, rows, first, count);
  }
}

function dot(x: usize, y: usize, columns: usize): f64 {
  let sum: f64 = 0;
  for (const end = x + (columns << 2); x < end; x += 4, y += 4) sum += <f64>load<f32>(x) * <f64>load<f32>(y);
  return sum;
}

// What a block's summary says of the pool: d(share) of each row is a product with the summary's gradient `g`, and
// dpool_s = sum_t d(share_t) ([s = t] - share_t) / sum.
function addPool(job: SummariesJob, weights: usize, shares: usize, count: usize, sum: f64): void {
  let mean: f64 = 0;
  for (let t: usize = 0; t < count; t++) mean += <f64>load<f32>(weights + (t << 2)) * load<f64>(shares + (t << 3));
  for (let t: usize = 0; t < count; t++) {
    const at = job.dPool + (t << 3);
    store<f64>(at, load<f64>(at) + (load<f64>(shares + (t << 3)) - mean) / sum);
  }
}

// Gradients of the rows of one block: of their own, at `y`, and by their part of the summary's, at `s`.
function spread(job: SummariesJob, weights: usize, shares: usize, first: usize, count: usize): void {
  const x = rowsAt(job, offsetof<SummariesJob>("x")), y = rowsAt(job, offsetof<SummariesJob>("y"));
  const target = rowsAt(job, offsetof<SummariesJob>("target"));
  const columns = job.columns, bytes = rowBytes(job), row = shares + (job.block + 2 << 3 & ~15);
  const g = row + bytes, given = g + bytes;
  readRow(rowsAt(job, offsetof<SummariesJob>("s")), first / job.block, columns, g, 1);
  for (let t: usize = 0; t < count; t++) {
    readRow(y, first + t, columns, row, 1);
    addRow(row, g, bytes, load<f32>(weights + (t << 2)));
    writeRow(target, first + t, columns, row);
    if (job.dPool == 0) continue;
    readRow(x, first + t, columns, given, 1);
    store<f64>(shares + (t << 3), dot(g, given, columns));
  }
}

// The way back: from gradients of rows and of summaries to those of what both are made of.
export function summariesBackward(job: SummariesJob, scratch: usize): void {
  const block = job.block, shares = scratch + (block + 4 << 2 & ~15);
  let sum: f64 = 0;
  if (job.dPool != 0) clear(job.dPool, block + 1 << 3 & ~15);
  for (let first: usize = 0, shared: usize = 0; first < job.rows; first += block) {
    const count = min(block, job.rows - first);
    if (count != shared) sum = share(job, scratch, count);
    shared = count;
    spread(job, scratch, shares, first, count);
    if (job.dPool != 0) addPool(job, scratch, shares, count, sum);
  }
}

// sums[count] += part[count], in f64: what the jobs say of a pool, in their order.
export function addDoubles(sums: usize, part: usize, count: usize): void {
  for (const end = sums + (count << 3); sums < end; sums += 8, part += 8) {
    store<f64>(sums, load<f64>(sums) + load<f64>(part));
  }
}

// Sums become f32, in place.
export function narrowDoubles(sums: usize, count: usize): void {
  for (let t: usize = 0; t < count; t++) store<f32>(sums + (t << 2), <f32>load<f64>(sums + (t << 3)));
}
