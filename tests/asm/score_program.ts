// Score programs, what intervals say, and the errors of their curves against float64.

import { exp, log, sigmoid } from "../../asm/scored/curves";
import { tanh } from "../../asm/tanh.gen";

export { beginRanges, classify, fillTable, setQueries, tableBytes } from "../../asm/scored/intervals";
export { runProgram } from "../../asm/scored/program";

export function heapBase(): usize {
  return (__heap_base + 63) & ~63;
}

export function expOf(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

export function logOf(x: f32): f32 {
  return f32x4.extract_lane(log(f32x4.splat(x)), 0);
}

export function sigmoidOf(x: f32): f32 {
  return f32x4.extract_lane(sigmoid(f32x4.splat(x)), 0);
}

export function tanhOf(x: f32): f32 {
  return f32x4.extract_lane(tanh(f32x4.splat(x)), 0);
}
