// Gradients of softmax and its logarithms: what a row's gradients are multiplied by, or lack, is a sum over the row.
// With y = softmax(scale x): dx = scale y (dy - sum y dy / sum y); with y its logarithm: dx = scale (dy - e^y sum dy);
// and of the logarithm of the sum: dx = scale softmax dy, one dy a row.

import { exp4, LOG4_E } from "../exp.gen";
import { LOG_SOFTMAX, LOG_SUM_EXP, SoftmaxJob } from "../records.gen";
import { multiply, readRow, rowsAt, writeRow } from "./row";

// Bytes that a job needs: a row of results and one of their gradients.
export function softmaxBackwardScratch(job: SoftmaxJob): usize {
  return (job.columns + 4 & ~3) << 3;
}

// What is not seen of a row of logarithms has no gradient: `g` becomes 0 there. Weights take the place of logarithms.
function weightsOf(y: usize, g: usize, columns: usize): void {
  const apart = g - y, unseen = f32x4.splat(-Infinity);
  for (const end = y + (columns << 2); y < end; y += 16) {
    const log = v128.load(y);
    v128.store(y + apart, v128.andnot(v128.load(y + apart), f32x4.eq(log, unseen)));
    v128.store(y, exp4(f32x4.mul(log, f32x4.splat(LOG4_E))));
  }
}

// Sums are in f64: rows may be long.
function sumOf(g: usize, columns: usize): f64 {
  let sum: f64 = 0;
  for (const end = g + (columns << 2); g < end; g += 4) sum += <f64>load<f32>(g);
  return sum;
}

// The mean of g with weights y. Rounded, these do not add up to 1 exactly, which would leave a share of a level that all of g
// has. Of a row that sees nothing it is 0.
function meanOf(y: usize, g: usize, columns: usize): f64 {
  let sum: f64 = 0, total: f64 = 0;
  for (const end = y + (columns << 2); y < end; y += 4, g += 4) {
    const weight = <f64>load<f32>(y);
    sum += weight * <f64>load<f32>(g);
    total += weight;
  }
  return total == 0 ? sum : sum / total;
}

export function softmaxBackward(job: SoftmaxJob, scratch: usize): void {
  const columns = job.columns, y = scratch, g = scratch + ((columns + 4 & ~3) << 2), scale = job.scale;
  const results = rowsAt(job, offsetof<SoftmaxJob>("x")), target = rowsAt(job, offsetof<SoftmaxJob>("y"));
  const given = rowsAt(job, offsetof<SoftmaxJob>("g"));
  for (let r: usize = 0; r < job.rows; r++) {
    readRow(results, r, columns, y, 1);
    if (job.what == LOG_SUM_EXP) {
      readRow(given, r, 1, g, scale);
      multiply(y, columns, f32x4.splat(load<f32>(g)));
    } else {
      readRow(given, r, columns, g, 1);
      if (job.what == LOG_SOFTMAX) weightsOf(y, g, columns);
      combine(y, g, columns, scale, job.what == LOG_SOFTMAX);
    }
    writeRow(target, r, columns, y);
  }
}

// y = scale (g - y sum), or scale y (g - mean). What f32 rounds off the mean may be more than the differences.
function combine(y: usize, g: usize, columns: usize, scale: f32, isLog: bool): void {
  const level = isLog ? sumOf(g, columns) : meanOf(y, g, columns), high = <f32>level;
  const most = f32x4.splat(high), rest = f32x4.splat(<f32>(level - <f64>high)), by = f32x4.splat(scale);
  for (const end = y + (columns << 2); y < end; y += 16, g += 16) {
    const weight = v128.load(y), gradient = v128.load(g);
    v128.store(y, f32x4.mul(by, isLog
      ? f32x4.sub(gradient, f32x4.mul(weight, most))
      : f32x4.mul(weight, f32x4.sub(f32x4.sub(gradient, most), rest))));
  }
}
