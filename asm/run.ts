// Jobs, whatever they are.

import { differentiate, gradientScratchBytes } from "./backward";
import { forward } from "./forward";
import { Job } from "./records.gen";
import { scratchBytes as bytesOfScratch } from "./scratch";

// A job: attention, or its gradients. `scratch` is tile memory of the thread that runs it.
export function run(job: Job, scratch: usize): void {
  if (job.gradient != 0) differentiate(job, scratch);
  else forward(job, scratch);
}

// Bytes of tile memory that a job needs, at 16-byte alignment.
export function scratchBytes(job: Job): usize {
  return job.gradient != 0 ? gradientScratchBytes(job) : bytesOfScratch(job);
}
