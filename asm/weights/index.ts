// What the program of weights by themselves exports, over the same memory: gradients of values alone, of a gradient by the
// result that picks rows or sums them. It is loaded where it is asked for.

export { differentiate as run } from "../backward";

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
