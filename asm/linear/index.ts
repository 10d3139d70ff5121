// What the program of attention in linear time exports, over the same memory. It is loaded where it is needed.

import {
  CONVOLUTION, CONVOLUTION_TAPS, ConvolutionJob, PERFORMER_PROJECTION, PerformerJob, PRODUCT, ProductJob, RowsJob, SUMMARIES,
  SUMMARIES_BACKWARD, SummariesJob,
} from "../records.gen";
import { convolution, convolutionScratch } from "./convolution";
import { addSums, sumsScratch, tapsGradients, tapsScratch } from "./convolution_backward";
import { performer, performerScratch } from "./performer/run";
import { product, productScratch } from "./product";
import { summaries, summariesBackward, summariesScratch } from "./summaries";

export { addDoubles, narrowDoubles } from "./summaries";

// `scratch` is tile memory of the thread that runs the job.
export function run(job: RowsJob, scratch: usize): void {
  if (job.kind >= PERFORMER_PROJECTION) performer(changetype<PerformerJob>(job), scratch);
  else if (job.kind == PRODUCT) product(changetype<ProductJob>(job), scratch);
  else if (job.kind == SUMMARIES) summaries(changetype<SummariesJob>(job), scratch);
  else if (job.kind == SUMMARIES_BACKWARD) summariesBackward(changetype<SummariesJob>(job), scratch);
  else if (job.kind == CONVOLUTION) convolution(changetype<ConvolutionJob>(job), scratch);
  else if (job.kind == CONVOLUTION_TAPS) tapsGradients(changetype<ConvolutionJob>(job), scratch);
  else addSums(changetype<ConvolutionJob>(job), scratch);
}

// Bytes of tile memory that a job needs, at 16-byte alignment.
export function scratchBytes(job: RowsJob): usize {
  if (job.kind >= PERFORMER_PROJECTION) return performerScratch(changetype<PerformerJob>(job));
  if (job.kind == PRODUCT) return productScratch(changetype<ProductJob>(job));
  if (job.kind == SUMMARIES || job.kind == SUMMARIES_BACKWARD) {
    return summariesScratch(changetype<SummariesJob>(job));
  }
  if (job.kind == CONVOLUTION) return convolutionScratch(changetype<ConvolutionJob>(job));
  if (job.kind == CONVOLUTION_TAPS) return tapsScratch(changetype<ConvolutionJob>(job));
  return sumsScratch(changetype<ConvolutionJob>(job));
}

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
