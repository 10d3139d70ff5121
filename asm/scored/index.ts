// What the program of score and mask functions exports, over the same memory. It is loaded where there are some.

export { run, scratchBytes } from "../run";
export { fillTable, tableBytes } from "./intervals";

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
