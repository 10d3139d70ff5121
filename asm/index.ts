// What the binary exports. The records' layouts are drawn in tools/records.ts.

import { CALL_BYTES, HeadRows, LATE_STATIC_BYTES } from "./records.gen";

export { finishKeys, finishQueries } from "./backward";
export { copyToken, writeTokens } from "./blocks/write";
export { rowProducts } from "./delta";
export { combine } from "./forward";
export { packKeys, packValues } from "./layout";
export { addRows, storeRow } from "./merge";
export { panelBytes } from "./record";
export { rotateRows } from "./rope";
export { run, scratchBytes } from "./run";

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
