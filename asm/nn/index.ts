// The program of layers between attention calls: loaded when one of them is asked for, over the memory of the first
// program.

import {
  LayerJob, LINEAR_ROWS, LinearJob, NORM_BACKWARD, NORM_ROWS, PACK_WEIGHT, PackJob, POINTWISE_ROWS, RowsJob, SCATTER_ROWS,
  TABLE_ROWS,
} from "../records.gen";
import { linear, linearScratch } from "./linear";
import { norm, normScratch } from "./norm";
import { normBackward } from "./norm_backward";
import { pointwise, pointwiseScratch, scatterRows, sumRows, sumScratch, tableRows, tableScratch } from "./rows";
import { packScratch, packWeight } from "./weights";

// `scratch` is tile memory of the thread that runs the job.
export function run(job: RowsJob, scratch: usize): void {
  if (job.kind == LINEAR_ROWS) linear(changetype<LinearJob>(job), scratch);
  else if (job.kind == NORM_ROWS) norm(changetype<LayerJob>(job), scratch);
  else if (job.kind == POINTWISE_ROWS) pointwise(changetype<LayerJob>(job), scratch);
  else if (job.kind == TABLE_ROWS) tableRows(changetype<LayerJob>(job), scratch);
  else if (job.kind == PACK_WEIGHT) packWeight(changetype<PackJob>(job), scratch);
  else if (job.kind == NORM_BACKWARD) normBackward(changetype<LayerJob>(job), scratch);
  else if (job.kind == SCATTER_ROWS) scatterRows(changetype<LayerJob>(job), scratch);
  else sumRows(changetype<LayerJob>(job), scratch);
}

// Bytes of tile memory that a job needs, at 16-byte alignment.
export function scratchBytes(job: RowsJob): usize {
  if (job.kind == LINEAR_ROWS) return linearScratch(changetype<LinearJob>(job));
  if (job.kind == NORM_ROWS || job.kind == NORM_BACKWARD) return normScratch(changetype<LayerJob>(job));
  if (job.kind == POINTWISE_ROWS) return pointwiseScratch();
  if (job.kind == TABLE_ROWS || job.kind == SCATTER_ROWS) return tableScratch(changetype<LayerJob>(job));
  if (job.kind == PACK_WEIGHT) return packScratch(changetype<PackJob>(job));
  return sumScratch(changetype<LayerJob>(job));
}

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
