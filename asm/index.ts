// What the binary exports. The job record's layout is drawn in src/wasm/job_record.ts.

export { forward, merge, scratchBytes } from "./forward";
export { packKeys, packValues } from "./layout";
export { copyToken, writeTokens } from "./pages";
export { addRows, rotateRows, storeRow } from "./rows";

// Where memory begins that is nobody's yet.
export function heapBase(): usize {
  return __heap_base;
}
