// What becomes of numbers before they are written.

import {
  GELU, GELU_SLOPE, GELU_TANH, GELU_TANH_SLOPE, RELU, RELU_SLOPE, SILU, SILU_SLOPE, TANH, TANH_SLOPE,
} from "../records.gen";
import {
  gelu_2x8, geluSlope_4, geluTanh_2x8, geluTanhSlope_4, hyperbolic_2x8, hyperbolicSlope_4, relu_2x8, reluSlope_4,
  silu_2x8, siluSlope_4,
} from "./activations.gen";

// Derivatives of eight numbers.
function slope(what: usize, at: usize): void {
  for (const end = at + (8 << 2); at < end; at += 16) {
    if (what == GELU_SLOPE) geluSlope_4(at);
    else if (what == GELU_TANH_SLOPE) geluTanhSlope_4(at);
    else if (what == SILU_SLOPE) siluSlope_4(at);
    else if (what == RELU_SLOPE) reluSlope_4(at);
    else hyperbolicSlope_4(at);
  }
}

// Rows of eight numbers, `step` bytes apart, in place.
export function activate(what: usize, at: usize, step: usize, rows: usize): void {
  if (what >= GELU_SLOPE) {
    for (; rows > 0; rows--, at += step) slope(what, at);
    return;
  }
  for (; rows > 0; rows -= min<usize>(rows, 2), at += step << 1) {
    const more = rows > 1 ? at + step : at;
    if (what == GELU) gelu_2x8(at, more);
    else if (what == GELU_TANH) geluTanh_2x8(at, more);
    else if (what == SILU) silu_2x8(at, more);
    else if (what == RELU) relu_2x8(at, more);
    else if (what == TANH) hyperbolic_2x8(at, more);
  }
}
