// What a job of gradients has under way besides: see work.ts. Gradients by sums over keys are sums over rows, of the same
// shape; their exponents are the opposites of those of the sums.

import { PerformerJob } from "../../records.gen";
import { CHUNK, columnsOf, featuresOf, layOut, Work, workBytes } from "./work";

@unmanaged
export class GradientWork extends Work {
  // Of eight rows: gradients by results over denominators, [columns][8]; those by features, [features][8]; products of
  // the former with values of the chunk's keys, [CHUNK][8]; gradients by queries, [dim up to a multiple of four][8].
  dResults: usize;
  dFeatures: usize;
  dWeights: usize;
  dQuery: usize;
  // Of each row what its gradients by features lack: gradients by results times these, over the denominator.
  delta: usize;
  // Values of the chunk, [CHUNK / 4][valueDim][4].
  valuePanels: usize;
  // Of the chunk's rows, row by row: features [features / 8][CHUNK][8], gradients by results [columns / 4][CHUNK][4],
  // deltas [CHUNK], and weights of keys and gradients by them, [CHUNK / 8][CHUNK][8].
  rowFeatures: usize;
  rowResults: usize;
  rowDeltas: usize;
  rowWeights: usize;
  rowDWeights: usize;
  // Of the chunk's keys: gradients by values [CHUNK / 8][columns][8], and by features [CHUNK / 8][features][8]; eight
  // keys [dim][8] and values [columns][8].
  dValues: usize;
  dKeyFeatures: usize;
  key: usize;
  value: usize;
  // Where runs of keys that are looked at together begin, and the exponents of sums before each.
  starts: usize;
  exponentsBefore: usize;
}

function up4(count: usize): usize {
  return (count + 3) & ~3;
}

export function layOutGradients(job: PerformerJob, scratch: usize): GradientWork {
  const first = scratch + ((offsetof<GradientWork>() + 15) & ~15);
  const work = changetype<GradientWork>(layOut(job, scratch, true, first));
  const features = work.features, columns = work.columns;
  work.plain = work.take(features * columns << 2);
  work.dResults = work.take(columns << 5);
  work.dFeatures = work.take(features << 5);
  work.dWeights = work.take(CHUNK << 5);
  work.dQuery = work.take(up4(job.dim) << 5);
  work.delta = work.take(32);
  work.valuePanels = work.take(CHUNK * columns << 2);
  work.rowFeatures = work.take(CHUNK * features << 2);
  work.rowResults = work.take(CHUNK * columns << 2);
  work.rowDeltas = work.take(CHUNK << 2);
  work.rowWeights = work.take(CHUNK * CHUNK << 2);
  work.rowDWeights = work.take(CHUNK * CHUNK << 2);
  work.dValues = work.take(CHUNK * columns << 2);
  work.dKeyFeatures = work.take(CHUNK * features << 2);
  work.key = work.take(job.dim << 5);
  work.value = work.take(columns << 5);
  work.starts = work.take(CHUNK + 1 << 2);
  work.exponentsBefore = work.take((CHUNK + 1) * features << 2);
  return work;
}

// Bytes of the places of a job.
export function gradientWorkBytes(job: PerformerJob): usize {
  const features = featuresOf(job), columns = columnsOf(job);
  const ofChunk = columns * 3 + features * 3 + CHUNK * 2 + 4;
  const ofEight = columns * 2 + features + CHUNK + up4(job.dim) + job.dim;
  return workBytes(job) + (CHUNK * ofChunk << 2) + (ofEight << 5) + (features * (columns + 2) << 2) + 1024;
}
