// What the program of attention by integers exports, over the same memory. It is loaded where it is needed.

export { forward as run } from "./forward";
export { integerBytes } from "./head";
export { quantize } from "./prepare";
export { scratchBytes } from "./work";

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
