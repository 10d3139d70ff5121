// What becomes of numbers before they are written.

import { GELU, GELU_TANH, RELU, SILU, TANH } from "../records.gen";
import { gelu_2x8, geluTanh_2x8, hyperbolic_2x8, relu_2x8, silu_2x8 } from "./activations.gen";

// Rows of eight numbers, `step` bytes apart, in place.
export function activate(what: usize, at: usize, step: usize, rows: usize): void {
  for (; rows > 0; rows -= min<usize>(rows, 2), at += step << 1) {
    const more = rows > 1 ? at + step : at;
    if (what == GELU) gelu_2x8(at, more);
    else if (what == GELU_TANH) geluTanh_2x8(at, more);
    else if (what == SILU) silu_2x8(at, more);
    else if (what == RELU) relu_2x8(at, more);
    else if (what == TANH) hyperbolic_2x8(at, more);
  }
}
