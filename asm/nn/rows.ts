// Functions of each number, rows of tables, and means of rows.

import { COMBINE_ADD, COMBINE_MULTIPLY, HeadRows, LayerJob } from "../records.gen";
import { readPart, readRow, rowsAt, writePart, writeRow } from "../rows/row";
import { activate } from "./activations";
import { OUTPUTS } from "./product";
import { readOutput } from "./weights";

// Numbers of a row at a time: those of both rows stay in L1.
const PART: usize = 1024;

// Bytes of tile memory that a job on numbers needs, and one on rows of a table.
export function pointwiseScratch(): usize {
  return PART << 3;
}

export function tableScratch(job: LayerJob): usize {
  return job.columns + 16 << 2;
}

function combine(what: usize, x: usize, y: usize, count: usize): void {
  for (const end = x + (count << 2); x < end; x += 16, y += 16) {
    const a = v128.load(x), b = v128.load(y);
    v128.store(x, what == COMBINE_ADD ? f32x4.add(a, b) : f32x4.mul(a, b));
  }
}

// act(x), act(x) y or x + y.
export function pointwise(job: LayerJob, scratch: usize): void {
  const x = rowsAt(job, offsetof<LayerJob>("x")), y = rowsAt(job, offsetof<LayerJob>("y"));
  const out = rowsAt(job, offsetof<LayerJob>("out")), other = scratch + (PART << 2);
  for (let r: usize = 0; r < job.rows; r++) {
    for (let from: usize = 0; from < job.columns; from += PART) {
      const count = min(PART, job.columns - from);
      readPart(x, r, from, count, scratch);
      activate(job.activation, scratch, OUTPUTS << 2, (count + OUTPUTS - 1) / OUTPUTS);
      if (job.combine != 0) {
        readPart(y, r, from, count, other);
        combine(job.combine, scratch, other, count);
      }
      writePart(out, r, from, count, scratch);
    }
  }
}

// Rows of a table, or those that were brought one after the other; or outputs of a packed weight.
export function tableRows(job: LayerJob, scratch: usize): void {
  const x = rowsAt(job, offsetof<LayerJob>("x")), out = rowsAt(job, offsetof<LayerJob>("out"));
  for (let r: usize = 0; r < job.rows; r++) {
    const id = job.ids == 0 ? r : <usize>load<u32>(job.ids + (r << 2));
    if (job.packed != 0) readOutput(job, id, scratch);
    else readRow(x, id, job.columns, scratch, job.scale);
    writeRow(out, r, job.columns, scratch);
  }
}

// Adds rows, times `scale`, to those of a table in f32, by their ids.
export function scatterRows(job: LayerJob, scratch: usize): void {
  const x = rowsAt(job, offsetof<LayerJob>("x")), bytes = job.columns << 2;
  for (let r: usize = 0; r < job.rows; r++) {
    readRow(x, r, job.columns, scratch, job.scale);
    let from = scratch, to = job.sums + <usize>load<u32>(job.ids + (r << 2)) * bytes;
    const whole = to + (bytes & ~15), end = to + bytes;
    for (; to < whole; to += 16, from += 16) v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
    for (; to < end; to += 4, from += 4) store<f32>(to, load<f32>(to) + load<f32>(from));
  }
}

// Rows that are summed one after the other, before their sum is added to the others': errors do not grow with all.
const RUN: usize = 64;

export function sumScratch(job: LayerJob): usize {
  return (job.columns + 16 << 2) << 1;
}

function addTo(sums: usize, row: usize, columns: usize): void {
  for (const end = sums + (columns << 2); sums < end; sums += 16, row += 16) {
    v128.store(sums, f32x4.add(v128.load(sums), v128.load(row)));
  }
}

function clear(row: usize, columns: usize): void {
  for (const end = row + (columns << 2); row < end; row += 16) v128.store(row, f32x4.splat(0));
}

// Adds rows to sums, of which there are as many as columns, up to fours; behind the last row times `scale` they are the
// result. Jobs but the last have a multiple of RUN rows.
export function sumRows(job: LayerJob, scratch: usize): void {
  const x = rowsAt(job, offsetof<LayerJob>("x")), out = rowsAt(job, offsetof<LayerJob>("out"));
  const columns = job.columns, sums = job.sums, run = scratch + (columns + 16 << 2);
  if (job.isFirst) clear(sums, columns);
  for (let from: usize = 0; from < job.rows; from += RUN) {
    clear(run, columns);
    for (let r = from, end = min(job.rows, from + RUN); r < end; r++) {
      readRow(x, r, columns, scratch, 1);
      addTo(run, scratch, columns);
    }
    addTo(sums, run, columns);
  }
  if (!job.isLast) return;
  for (let column: usize = 0; column < columns; column++) {
    store<f32>(sums + (column << 2), load<f32>(sums + (column << 2)) * job.scale);
  }
  writeRow(out, 0, columns, sums);
}
