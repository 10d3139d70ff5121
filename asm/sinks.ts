// How the sums of a row begin and end: with its sink, which has weight and no value, and as a logarithm.

import { LN_2, LOG2_E } from "./panel";
import { Job } from "./records.gen";

// The sink of a row; minus infinity where there is none.
function sinkOf(job: Job, row: usize): f32 {
  const sinks = job.sinks;
  return sinks == 0 ? -Infinity : load<f32>(sinks + ((row % job.group) << 2));
}

// A sink as a score, and the sum of a row that has seen nothing but it. What rounding takes from the score comes
// back in the sum, unless it is so much that a sum would not hold it.

// @ts-ignore: decorator
@inline
function scoreOf(job: Job, sink: f32): f32 {
  return <f32>(<f64>sink * LOG2_E / <f64>job.unit);
}

function sumOf(job: Job, sink: f32): f32 {
  if (sink == -Infinity) return 0;
  const taken = <f64>sink - <f64>scoreOf(job, sink) * <f64>job.unit * LN_2;
  return abs(taken) > 1 ? 1 : <f32>NativeMath.exp(taken);
}

// m and l of a row that has seen nothing but its sink.

export function firstMaximum(job: Job, row: usize): f32 {
  return scoreOf(job, sinkOf(job, row));
}

export function firstSum(job: Job, row: usize): f32 {
  return sumOf(job, sinkOf(job, row));
}

// The logarithm of a row's sum of exponentials. Of a sink that nothing adds to it is the sink.
export function logOfSum(job: Job, row: usize, m: f32, l: f32): f64 {
  if (l == 0) return -Infinity;
  const sink = sinkOf(job, row);
  if (m == scoreOf(job, sink) && l == sumOf(job, sink)) return sink;
  // Rounding may not make infinity of what is finite.
  const exact = <f64>m * <f64>job.unit * LN_2 + NativeMath.log(l);
  return min<f64>(max<f64>(exact, -f32.MAX_VALUE), f32.MAX_VALUE);
}
