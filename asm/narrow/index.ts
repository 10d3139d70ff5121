// What the program of few queries exports, over the same memory. It is loaded where it is worth it.

export { forward as run } from "./forward";
export { packRows } from "./rows";

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
