// What the program of rows by themselves exports, over the same memory. It is loaded where it is needed.

import { RowsJob, SoftmaxJob, SOFTMAX_BACKWARD } from "../records.gen";
import { softmax, softmaxScratch } from "./softmax";
import { softmaxBackward, softmaxBackwardScratch } from "./softmax_backward";

// `scratch` is tile memory of the thread that runs the job.
export function run(job: RowsJob, scratch: usize): void {
  if (job.kind == SOFTMAX_BACKWARD) softmaxBackward(changetype<SoftmaxJob>(job), scratch);
  else softmax(changetype<SoftmaxJob>(job), scratch);
}

// Bytes of tile memory that a job needs, at 16-byte alignment.
export function scratchBytes(job: RowsJob): usize {
  if (job.kind == SOFTMAX_BACKWARD) return softmaxBackwardScratch(changetype<SoftmaxJob>(job));
  return softmaxScratch(changetype<SoftmaxJob>(job));
}

// Where the binary's static memory ends, in the place that the first binary keeps for it.
export function heapBase(): usize {
  return __heap_base;
}
