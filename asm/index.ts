// What the binary exports. The job record's layout is drawn in src/wasm/job_record.ts.

import { differentiate } from "./backward";
import { forward } from "./forward";
import { Job } from "./job.gen";

export { finishKeys, finishQueries, gradientScratchBytes } from "./backward";
export { merge, scratchBytes } from "./forward";
export { packKeys, packValues } from "./layout";
export { copyToken, writeTokens } from "./pages";
export { addRows, rotateRows, rowProducts, storeRow } from "./rows";

// A job: attention, or its gradients. `scratch` is tile memory of the thread that runs it.
export function run(job: Job, scratch: usize): void {
  if (job.gradient != 0) differentiate(job, scratch);
  else forward(job, scratch);
}

// Where memory begins that is nobody's yet.
export function heapBase(): usize {
  return __heap_base;
}
