// What the binary exports. The records' layouts are drawn in tools/records.ts.

import { differentiate, gradientScratchBytes } from "./backward";
import { forward } from "./forward";
import { CALL_BYTES, HeadRows, Job, LATE_STATIC_BYTES } from "./records.gen";
import { scratchBytes as bytesOfScratch } from "./scratch";

export { finishKeys, finishQueries } from "./backward";
export { copyToken, writeTokens } from "./blocks/write";
export { rowProducts } from "./delta";
export { combine } from "./forward";
export { packKeys, packValues } from "./layout";
export { addRows, storeRow } from "./merge";
export { panelBytes } from "./record";
export { rotateRows } from "./rope";

// A job: attention, or its gradients. `scratch` is tile memory of the thread that runs it.
export function run(job: Job, scratch: usize): void {
  if (job.gradient != 0) differentiate(job, scratch);
  else forward(job, scratch);
}

// Bytes of tile memory that a job needs, at 16-byte alignment.
export function scratchBytes(job: Job): usize {
  return job.gradient != 0 ? gradientScratchBytes(job) : bytesOfScratch(job);
}

// Where the calling thread writes records of other calls: behind static memory, which is written anew whenever a
// thread begins.
export function callRecord(): usize {
  return __heap_base;
}

// Says there where the rows of one head are, two of them at most.
export function headRows(index: usize, at: usize, element: i32, storage: i32, row: i32): HeadRows {
  const rows = changetype<HeadRows>(__heap_base + index * offsetof<HeadRows>());
  rows.at = at;
  rows.element = element;
  rows.storage = storage;
  rows.row = row;
  return rows;
}

// Where memory begins that is nobody's yet: behind what programs that are loaded later keep there.
export function heapBase(): usize {
  return __heap_base + CALL_BYTES + LATE_STATIC_BYTES;
}
