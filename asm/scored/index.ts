// What the program of score and mask functions exports, over the same memory. It is loaded where there are some.

export { forward as run } from "../forward";
export { scratchBytes } from "../scratch";
export { fillTable, tableBytes } from "./intervals";

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
